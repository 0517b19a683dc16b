"""Sign an image at its registry, and verify the signatures of one, by a job on a server."""

from typing import Annotated

from pydantic import Field
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.queries import find_application
from api.fields.hosts import require_host
from api.fields.shapes import Accepted, Id, ImageName, Input, Output
from api.jobs.registry_choice import choose_registry, find_registries
from api.jobs.server_choice import choose_server
from api.jobs.submission import TEST_DEADLINE, TRANSFER_DEADLINE, read_result, submit_and_wait
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.procedures import find_registry
from api.signatures.keys import PURPOSE, find_signing_key
from api.signatures.policies import find_policy, load_public_keys
from shared.errors import InvalidReferenceError, UnmetConditionError
from shared.jobs.accesses import exclusive_key
from shared.jobs.commands import SignatureSign, SignatureVerify
from shared.jobs.permissions import require_allowed
from shared.jobs.results import SignatureResult, SignResult
from shared.jobs.store.submit import Submission
from shared.models import Registry
from shared.reference import Reference, parse_reference
from shared.signatures.policy import SignatureForm, SignaturePolicy

Forms = Annotated[list[SignatureForm], Field(min_length=1, max_length=2)]


class Sign(Input):
    """`image` has the host of its registry and its digest (`ghcr.io/team/app@sha256:…`).

    A `tag` is the form of cosign 2, a `bundle` that of cosign 3; by default both are stored.
    """

    image: ImageName
    registry_id: Id
    signing_key_id: Id
    forms: Forms = Field(default=["tag", "bundle"])
    server_id: Id | None = None


class Verify(Input):
    """`image` has the host of its registry.

    Without `signingKeyId` the policy of the application, or of the organization, says what is
    required: a signature by a publisher if the application's ready image (without an application:
    this image) is one of its `publishers`.
    """

    image: ImageName
    registry_id: Id | None = None
    application_id: Id | None = None
    signing_key_id: Id | None = None
    server_id: Id | None = None


class SignedImage(Output):
    """The stored signature; `attached` are the digests of its manifests."""

    reference: str
    digest: str
    fingerprint: str
    attached: list[str]


class ProofOutput(Output):
    predicate_type: str
    fingerprint: str
    form: str


class ViolationOutput(Output):
    code: str
    message: str


class VerifiedImage(Output):
    """What is proved about an image. It is `verified` if there are no `violations`.

    `gaps` say what could not be read.
    """

    reference: str
    digest: str
    verified: bool
    proofs: list[ProofOutput]
    violations: list[ViolationOutput]
    gaps: list[str]


async def sign(context: Context, request: Sign) -> SignedImage | Accepted:
    """Sign an image's digest, and store the signature beside it in its registry.

    `cosign verify --key` accepts it. Control makes the signature; a server stores it.
    """
    reference = parse_reference(request.image)
    require_host(reference.registry, context.resources.networks)
    if reference.digest is None:
        raise InvalidReferenceError(
            f"{reference} has no digest, and a tag can move before it is signed",
            remedy="Give the image as name@sha256:…; image.inspect shows the digest of a tag.",
        )
    target = Reference(reference.registry, reference.repository, digest=reference.digest)
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id)
        key = await find_signing_key(session, context, request.signing_key_id)
    _require_at(registry, target)
    if key.private_key is None or key.retired_at is not None:
        state = "retired" if key.retired_at is not None else "only a public key"
        raise UnmetConditionError(
            "cannot_sign",
            f"the signing key {key.name} is {state}",
            remedy="Choose a key that canSign (signingKey.all), or create one.",
        )
    command = SignatureSign(
        reference=str(target),
        registry_id=registry.registry_id,
        signing_key_id=key.signing_key_id,
        fingerprint=key.fingerprint,
        forms=tuple(dict.fromkeys(request.forms)),
    )
    server_id = await choose_server(context, request.server_id, among=registry.allowed_servers)
    require_allowed([registry], [server_id], "")
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=registry.registry_id,
        sealed={PURPOSE: key.private_key},
        exclusive_key=exclusive_key(command, server_id),
        fair_key=target.name,
        deadline=TRANSFER_DEADLINE,
        job_id=context.job_id,
    )
    ended = await submit_and_wait(context, job)
    if isinstance(ended, Accepted):
        return ended
    return SignedImage.model_validate(read_result(ended, SignResult).model_dump())


async def verify(context: Context, request: Verify) -> VerifiedImage | Accepted:
    """Verify the signatures and attestations beside an image, against keys or a policy.

    Both forms of cosign are read: tags and referrers. A server asks the registry, so this waits for
    a quick job. An image that is not signed is an answer with `violations`, not an error.
    """
    target = parse_reference(request.image).tagged()
    require_host(target.registry, context.resources.networks)
    async with context.transaction() as session:
        named = None
        if request.registry_id is not None:
            named = await find_registry(session, context, request.registry_id)
            _require_at(named, target)
        policy = await _find_policy(session, context, request, target)
        found = await find_registries(session, context, [target.registry])
    server_id = await choose_server(
        context, request.server_id, among=named.allowed_servers if named else ()
    )
    registry = named or choose_registry(target, found, [server_id], request.application_id or "")
    require_allowed([registry] if registry else [], [server_id], request.application_id or "")
    registry_id = registry.registry_id if registry else None
    job = Submission(
        organization_id=context.organization_id,
        server_id=server_id,
        command=SignatureVerify(reference=str(target), registry_id=registry_id, policy=policy),
        requested_by=context.caller.actor_id,
        registry_id=registry_id,
        fair_key=request.application_id or target.name,
        deadline=TEST_DEADLINE,
        job_id=context.job_id,
    )
    ended = await submit_and_wait(context, job)
    if isinstance(ended, Accepted):
        return ended
    result = read_result(ended, SignatureResult)
    return VerifiedImage.model_validate(result.model_dump() | {"verified": not result.violations})


async def _find_policy(
    session: AsyncSession, context: Context, request: Verify, target: Reference
) -> SignaturePolicy:
    """Return what the request requires: a signature by one key, or what a policy says.

    As in a deployment, the application's ready image names the publisher, wherever it is copied.
    """
    ready: Reference | None = target
    if request.application_id is not None:
        application, _ = await find_application(session, context, request.application_id)
        image = application.docker_image if application.source_type == "docker" else None
        ready = parse_reference(image) if image else None
    if request.signing_key_id is not None:
        key = await find_signing_key(session, context, request.signing_key_id)
        return SignaturePolicy(public_keys=(key.public_key,))
    stored = (await find_policy(session, context, request.application_id)).as_stored()
    keys = await load_public_keys(session, context, stored.all_key_ids)
    found = stored.for_image(ready, keys)
    return found.model_copy(update={"mode": "enforce"}) if found else SignaturePolicy()


def _require_at(registry: Registry, target: Reference) -> None:
    if registry.host != target.registry:
        raise InvalidReferenceError(
            f"the image is at {target.registry}, but the registry is {registry.host}",
            remedy=f"Give an image at {registry.host}/…, or another registry.",
        )


PROCEDURES = (
    Procedure("signature.sign", "mutation", Sign, SignedImage, sign, waits=True, repeatable=True),
    Procedure("signature.verify", "query", Verify, VerifiedImage, verify, waits=True),
)
