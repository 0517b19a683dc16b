"""Errors for HTTP responses of registries, with a sentence for each.

The registry's own messages are not repeated: they may contain anything, even the password.
"""

from datetime import UTC, datetime

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.providers.rate_limit import RateLimit
from worker.oci.providers.remedies import find_remedy
from worker.oci.transport.http import Response
from worker.oci.transport.shape import parse_error_codes, parse_retry_after
from worker.oci.transport.verdicts import Operation, diagnose

MAX_SHOWN_CODES = 3


REASONS = {
    FaultCode.AUTH_BAD_CREDENTIALS: "the username or the password is not accepted",
    FaultCode.AUTH_MISSING: "a login is required",
    FaultCode.AUTH_EXPIRED: "the login has expired",
    FaultCode.PULL_DENIED: "this login has no permission to read it",
    FaultCode.PUSH_DENIED: "this login has no permission to write to it",
    FaultCode.REPO_MISSING: "the repository does not exist",
    FaultCode.IMAGE_NOT_FOUND: "there is no such image",
    FaultCode.IMAGE_INCOMPLETE: "a part of the image is missing",
    FaultCode.NOT_A_REGISTRY: "the host does not answer as a registry",
    FaultCode.BLOCKED_BY_PROXY: "a firewall or an address list refuses this server",
    FaultCode.PROXY_ERROR: "a proxy refuses the request",
    FaultCode.RATE_LIMITED: "it was asked too often",
    FaultCode.REGISTRY_ERROR: "the registry failed",
    FaultCode.REGISTRY_READ_ONLY: "the registry accepts no changes",
    FaultCode.QUOTA_EXCEEDED: "the registry has no storage left for it",
    FaultCode.LAYER_TOO_LARGE: "the upload is larger than a proxy allows",
    FaultCode.TAG_IMMUTABLE: "the registry does not allow to move the tag",
    FaultCode.TLS_CLIENT_CERT: "it requires a client certificate",
    FaultCode.UPLOAD_CORRUPT: "a part of the upload was lost or damaged",
    FaultCode.REF_INVALID: "the registry does not accept this name",
    FaultCode.DELETE_UNSUPPORTED: "the registry does not delete it",
}

LOCKED_REMEDY = "Unlock the account at the registry, or use another one."

LOGIN_CODES = frozenset(
    {FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.AUTH_MISSING, FaultCode.AUTH_EXPIRED}
)


def make_response_error(
    response: Response,
    operation: Operation,
    subject: str,
    *,
    is_anonymous: bool,
    is_proved: bool = False,
    registry: str = "",
) -> RegistryError:
    """Make the error for a response that is not the expected one.

    ``subject`` is what the request was about, ``host/repository``; ``is_anonymous`` if no login was
    sent. ``is_proved`` if the host is known to be a registry, so that its web pages are its own.
    ``registry`` is its canonical name, by which its provider's remedies are found.
    """
    codes = parse_error_codes(response)
    code = diagnose(response, operation, is_anonymous=is_anonymous, is_proved=is_proved)
    verb = "log in to" if operation is Operation.PING and code in LOGIN_CODES else operation
    is_locked = response.status == 423
    reason = "the account is locked" if is_locked else REASONS.get(code, "it refused the request")
    return RegistryError(
        code,
        f"cannot {verb} {subject}: {reason}",
        remedy=LOCKED_REMEDY if is_locked else find_remedy(registry, code, response.body),
        evidence=_describe(response, codes),
        retry_after_seconds=parse_retry_after(response.headers, datetime.now(UTC)),
    )


def make_protocol_error(response: Response, subject: str) -> RegistryError:
    """Make the error for a success whose content violates the specification."""
    return RegistryError(
        FaultCode.NOT_A_REGISTRY if response.is_html else FaultCode.REGISTRY_ERROR,
        f"{subject} returned a response that violates the registry protocol",
        evidence=_describe(response, ()),
    )


def make_storage_error(response: Response, subject: str) -> RegistryError:
    """Make the error for a response of the storage that a registry redirected to."""
    host = response.url.host
    is_missing = response.status == 404
    is_refused = response.status in {401, 403, 407}
    code = FaultCode.IMAGE_INCOMPLETE if is_missing else FaultCode.REGISTRY_ERROR
    reason = "has lost a part of it" if is_missing else "does not return it"
    return RegistryError(
        FaultCode.BLOCKED_BY_PROXY if is_refused and response.is_html else code,
        f"cannot read {subject}: the registry's storage {host} {reason}",
        evidence=_describe(response, ()),
        retry_after_seconds=parse_retry_after(response.headers, datetime.now(UTC)),
    )


def make_not_a_registry_error(response: Response, subject: str) -> RegistryError:
    """Make the error for a response of ``/v2/`` that is not of the registry protocol."""
    return RegistryError(
        FaultCode.NOT_A_REGISTRY,
        f"{subject} is not a registry",
        evidence=_describe(response, ()),
    )


def _describe(response: Response, codes: tuple[str, ...]) -> str:
    parts = [f"HTTP {response.status}", *codes[:MAX_SHOWN_CODES]]
    if response.is_html:
        parts.append("a web page")
    if response.is_redirect and response.location:
        parts.append(f"redirects to {response.location.host}")
    if limit := RateLimit.parse(response.headers):
        parts.append(str(limit))
    return ", ".join(parts)
