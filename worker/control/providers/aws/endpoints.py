"""The hosts of AWS's services for a registry of ECR, in every partition."""

import re
from dataclasses import dataclass

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.aws.signature import Scope

PUBLIC_HOSTS = frozenset({"public.ecr.aws", "ecr-public.aws.com"})
PUBLIC_REGION = "us-east-1"
"""The one region of the API of ECR Public for logins."""

_PRIVATE = re.compile(
    r"\d{12}\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\.(?P<suffix>[a-z0-9.-]+)"
)
_DUAL_STACK = {
    "on.aws": "api.aws",
    "on.amazonwebservices.com.cn": "api.amazonwebservices.com.cn",
    "on.amazonwebservices.eu": "api.amazonwebservices.eu",
}
"""Suffixes of registries that have IPv6 addresses too, and those of AWS's services."""


@dataclass(frozen=True)
class Service:
    """A service of AWS: its URL, and the scope of signatures for it."""

    url: URL
    scope: Scope


@dataclass(frozen=True)
class Endpoints:
    """The services for one registry: that of ECR, and STS in the same region."""

    ecr: Service
    sts: Service
    is_public: bool = False


def find_endpoints(host: str) -> Endpoints:
    """Return the services for the registry at ``host``.

    Raises:
        RegistryError: ``ref_invalid``, it is not the host of a registry of ECR.
    """
    if host in PUBLIC_HOSTS:
        ecr = _service("api.ecr-public", PUBLIC_REGION, "amazonaws.com", "ecr-public")
        sts = _service("sts", PUBLIC_REGION, "amazonaws.com", "sts")
        return Endpoints(ecr, sts, is_public=True)
    found = _PRIVATE.fullmatch(host)
    if found is None:
        raise RegistryError(
            FaultCode.REF_INVALID,
            f"{host} is not the host of a registry of ECR",
            remedy="Give ACCOUNT.dkr.ecr.REGION.amazonaws.com with the 12 digits of the account.",
        )
    region, suffix, is_fips = found["region"], found["suffix"], bool(found["fips"])
    is_dual = suffix in _DUAL_STACK
    suffix = _DUAL_STACK.get(suffix, suffix)
    return Endpoints(
        _service(_ecr_name(suffix, is_dual=is_dual, is_fips=is_fips), region, suffix, "ecr"),
        _service(_sts_name(region, is_fips=is_fips), region, suffix, "sts"),
    )


def _ecr_name(suffix: str, *, is_dual: bool, is_fips: bool) -> str:
    if is_fips:
        return "ecr-fips" if is_dual or suffix == "amazonaws.com" else "api.ecr-fips"
    return "ecr" if is_dual else "api.ecr"


def _sts_name(region: str, *, is_fips: bool) -> str:
    # In GovCloud every endpoint of STS is one of FIPS.
    return "sts-fips" if is_fips and not region.startswith("us-gov-") else "sts"


def _service(name: str, region: str, suffix: str, signing_name: str) -> Service:
    url = URL.build(scheme="https", host=f"{name}.{region}.{suffix}", path="/")
    return Service(url, Scope(region, signing_name))
