"""Signatures of images at their registry: store one, verify them, hold a pull to a policy."""

from shared.errors import InvalidReferenceError
from shared.jobs.commands import SignatureSign, SignatureVerify
from shared.jobs.results import PolicyViolation, SignatureProof, SignatureResult, SignResult
from shared.reference import Reference, parse_registry
from shared.signatures.policy import SignatureForm, SignaturePolicy
from worker.jobs.logins import find_login
from worker.jobs.tools import Tools
from worker.login import BUNDLE, TAG_SIGNATURE, Grants, Login
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.images.artifact import Stored
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures.documents import SIGNATURE
from worker.oci.signatures.examination import examine, require_passed
from worker.oci.signatures.writing import store_bundle, store_tag_signature

MAX_SHOWN = 50


async def sign(command: SignatureSign, grants: Grants, tools: Tools) -> SignResult:
    """Store the signature that control has made, in each of its forms.

    An attempt can be repeated: what is there already stays as it is.

    Raises:
        RegistryError: ``image_not_found``, ``push_denied``, ``tag_immutable`` …
    """
    target, digest = _parse(command.target)
    login = await find_login(grants, target, "push", tools)
    attached: list[str] = []
    async with await _open(target, login, tools) as registry:
        subject = await manifests.describe(registry, target.repository, digest)
        writer = AttachmentWriter(registry, target.repository)
        for form in command.forms:
            stored = _make(form, target, subject, grants)
            await writer.store_with_blobs(stored)
            attached.append(stored.attachment.manifest.descriptor.digest)
    return SignResult(
        reference=command.reference,
        digest=digest,
        fingerprint=command.fingerprint,
        attached=tuple(attached),
    )


async def verify_signatures(
    command: SignatureVerify, grants: Grants, tools: Tools
) -> SignatureResult:
    """Compare the signatures beside an image with a policy; a violation does not fail the job.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied``, ``conn_timeout`` …
    """
    target = command.target
    login = await find_login(grants, target, "pull", tools) if command.registry_id else None
    examined = await examine(target, login, command.policy, await tools.connection_settings())
    verdict = examined.verdict
    return SignatureResult(
        reference=str(target.with_digest(examined.digest)),
        digest=examined.digest,
        proofs=tuple(
            SignatureProof(
                predicate_type=one.predicate_type, fingerprint=one.fingerprint, form=one.form
            )
            for one in verdict.proofs[:MAX_SHOWN]
        ),
        violations=tuple(
            PolicyViolation(code=one.code, message=one.message)
            for one in verdict.violations[:MAX_SHOWN]
        ),
        gaps=examined.gaps[:MAX_SHOWN],
    )


async def hold_to_policy(
    policy: SignaturePolicy, target: Reference, login: Login | None, tools: Tools
) -> tuple[str, ...]:
    """Check the signatures of an image that is to be pulled; return what is to be warned about.

    Raises:
        RegistryError: as `examine` and `require_passed`.
    """
    examined = await examine(target, login, policy, await tools.connection_settings())
    return require_passed(policy, target, examined)


def _make(form: SignatureForm, target: Reference, subject: Descriptor, grants: Grants) -> Stored:
    given = grants.secrets[TAG_SIGNATURE if form == "tag" else BUNDLE].get_secret_value()
    if form == "bundle":
        return store_bundle(subject, given.encode(), SIGNATURE)
    return store_tag_signature(target.name, subject.digest, given)


async def _open(target: Reference, login: Login | None, tools: Tools) -> RegistryClient:
    settings = await tools.connection_settings()
    return RegistryClient(parse_registry(target.registry), login, settings)


def _parse(target: Reference) -> tuple[Reference, str]:
    if target.digest is None:
        raise InvalidReferenceError(f"{target} has no digest")
    return target, target.digest
