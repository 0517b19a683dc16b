"""Hold the base images of a build to its policy: their registries, and their publishers' keys."""

from collections.abc import Iterable, Sequence

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from shared.signatures.policy import BasePolicy
from worker.builds.bases import FoundBase
from worker.builds.sources.dockerfile import Base
from worker.jobs.tools import Tools
from worker.login import Grants
from worker.oci.signatures.examination import examine, require_passed


def require_allowed_bases(policy: BasePolicy | None, bases: Sequence[Base]) -> tuple[str, ...]:
    """Check from where the bases are, before one is pulled; return what is to be warned about.

    Raises:
        RegistryError: under ``enforce``, ``base_not_allowed``.
    """
    if policy is None or policy.mode == "off":
        return ()
    references = dict.fromkeys(base.reference for base in bases)
    refused = [_explain(policy, each) for each in references if not policy.allows(each)]
    if refused and policy.mode == "enforce":
        raise RegistryError(FaultCode.BASE_NOT_ALLOWED, "; ".join(refused))
    return tuple(f"{each} ({FaultCode.BASE_NOT_ALLOWED})" for each in refused)


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
        target = Reference(image.registry, image.repository, image.tag, one.digest or image.digest)
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


def _explain(policy: BasePolicy, image: Reference) -> str:
    allowed = ", ".join(policy.allowed)
    return f"the policy allows no base from {image.registry}: FROM {image} (allowed: {allowed})"
