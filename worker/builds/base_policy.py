"""Hold the base images of a build to its policy: their registries, and their publishers' keys."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeGuard

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImageBuild
from shared.reference import Reference, parse_reference
from shared.signatures.policy import BasePolicy
from worker.builds.bases import FoundBase
from worker.builds.sources.certainty import SYNTAX_ARGUMENT, find_doubts, find_syntaxes
from worker.builds.sources.dockerfile import Base, parse_bases
from worker.jobs.tools import Tools
from worker.login import Grants
from worker.oci.signatures.examination import examine, require_passed


def is_enforced(policy: BasePolicy | None) -> TypeGuard[BasePolicy]:
    """Return whether a build may only use bases whose origin is proved."""
    return policy is not None and policy.mode == "enforce"


def require_allowed_bases(
    policy: BasePolicy | None,
    dockerfile: str,
    build_args: Mapping[str, str] | None = None,
    stage: str = "",
    *,
    name: str = "Dockerfile",
) -> tuple[str, ...]:
    """Check from where the bases are, before one is pulled; return what is to be warned about.

    A Dockerfile that a builder may read otherwise counts as one with a base that is not allowed;
    so does one whose ``name`` ends with ``.in``, to which Podman applies the C preprocessor.

    Raises:
        RegistryError: under ``enforce``, ``base_not_allowed``.
    """
    if policy is None or policy.mode == "off":
        return ()
    arguments = build_args or {}
    bases = parse_bases(dockerfile, arguments, stage, triggers=True)
    references = dict.fromkeys(base.reference for base in bases)
    refused = [_explain(policy, each) for each in references if not policy.allows(each)]
    refused += _refuse_syntaxes(policy, find_syntaxes(dockerfile, arguments))
    doubts = find_doubts(dockerfile, arguments)
    if name.endswith(".in"):
        doubts = (f"{name}: Podman would preprocess it; name it without .in", *doubts)
    refused += [f"the policy allows no Dockerfile with two readings: {each}" for each in doubts]
    if refused and policy.mode == "enforce":
        raise RegistryError(FaultCode.BASE_NOT_ALLOWED, "; ".join(refused))
    return tuple(f"{each} ({FaultCode.BASE_NOT_ALLOWED})" for each in refused)


def require_pinned_bases(
    policy: BasePolicy | None, command: ImageBuild, pinned: str, found: Iterable[FoundBase]
) -> None:
    """Check that the Dockerfile for the builder names each base by the digest that was found.

    Raises:
        RegistryError: under ``enforce``, ``base_not_allowed``.
    """
    if not is_enforced(policy):
        return
    held = {(one.base.reference.name, one.digest) for one in found if one.digest}
    bases = parse_bases(pinned, command.build_args, command.stage or "", triggers=True)
    loose = [each.reference for each in bases if _by_digest(each.reference) not in held]
    if loose:
        raise RegistryError(
            FaultCode.BASE_NOT_ALLOWED,
            f"the digest of {loose[0]} cannot be written into the Dockerfile; "
            "write this name in one line, without quotes and variables, or in a FROM",
        )


async def require_signed_syntaxes(
    command: ImageBuild, dockerfile: str, grants: Grants, tools: Tools
) -> tuple[str, ...]:
    """Check the images that read a Dockerfile as `require_signed_bases`."""
    policy = command.base_policy
    if policy is None or policy.mode == "off":
        return ()
    found = [
        FoundBase(Base(reference), None)
        for text in find_syntaxes(dockerfile, command.build_args)
        if (reference := _parse(text)) is not None
    ]
    return await require_signed_bases(policy, found, grants, tools)


async def require_signed_bases(
    policy: BasePolicy | None, found: Iterable[FoundBase], grants: Grants, tools: Tools
) -> tuple[str, ...]:
    """Check the signatures of bases with a publisher; return what is to be warned about.

    Raises:
        RegistryError: as `examine` and `require_passed`.
    """
    warnings: list[str] = []
    for one in found:
        image = one.base.reference
        required = policy.find_signatures(image) if policy is not None else None
        if required is None:
            continue
        digest = one.digest or image.digest
        target = Reference(image.registry, image.repository, image.tag, digest)
        if digest is None and (one.image is not None or required.mode == "enforce"):
            message = f"{image} has no digest here, so nobody can have signed it"
            if required.mode == "enforce":
                raise RegistryError(FaultCode.SIGNATURE_MISSING, message)
            warnings.append(f"{message} ({FaultCode.SIGNATURE_MISSING})")
            continue
        login = grants.login_for_base(image)
        try:
            examined = await examine(target, login, required, await tools.connection_settings())
        except RegistryError as error:
            if required.mode == "enforce":
                raise
            warnings.append(f"the signatures of {target}: {error.message} ({error.code})")
            continue
        warnings += require_passed(required, target, examined)
    return tuple(warnings)


def _refuse_syntaxes(policy: BasePolicy, syntaxes: Iterable[str]) -> Iterator[str]:
    for text in syntaxes:
        image = _parse(text)
        if image is None or not policy.allows(image):
            yield (
                f"the policy does not allow {text[:200]!r} to read the Dockerfile; remove its "
                f"# syntax= or the build argument {SYNTAX_ARGUMENT}"
            )
        elif image.digest is None and policy.find_signatures(image) is not None:
            yield f"{text[:200]!r} reads the Dockerfile and has to be signed; add its digest"


def _by_digest(reference: Reference) -> tuple[str, str | None]:
    return reference.name, reference.digest


def _parse(text: str) -> Reference | None:
    try:
        return parse_reference(text)
    except InvalidReferenceError:
        return None


def _explain(policy: BasePolicy, image: Reference) -> str:
    allowed = ", ".join(policy.allowed)
    return f"the policy allows no base from {image.registry}: FROM {image} (allowed: {allowed})"
