"""Registries that require a login of a job that has none."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Token, everywhere, writing
from tests.faults.responses import refuses

REQUIRED = everywhere(Code.AUTH_MISSING)

ANONYMOUS = (
    Fault("no login: the registry requires one", REQUIRED, is_anonymous=True, retryable=False),
    Fault(
        "no login: a token without rights",
        REQUIRED,
        token=Token(rights=()),
        is_anonymous=True,
        retryable=False,
    ),
    Fault(
        "no login: the token server answers 401",
        REQUIRED,
        token=Token(refuses(401, "UNAUTHORIZED", "authentication required")),
        is_anonymous=True,
        retryable=False,
    ),
    Fault(
        "no login: the token server answers 403 (GHCR)",
        REQUIRED,
        token=Token(refuses(403, "DENIED", "requested access to the resource is denied")),
        is_anonymous=True,
        retryable=False,
    ),
    Fault(
        "no login: a public image, which nobody else may push to",
        writing(Code.AUTH_MISSING, test=(Code.AUTH_MISSING,)),
        token=Token(rights=("pull",)),
        is_anonymous=True,
        retryable=False,
    ),
)
