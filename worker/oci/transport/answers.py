"""Errors for HTTP responses of registries: status and OCI error codes as `RegistryError`.

The codes are those of the OCI distribution specification, section "Error Codes". The registry's own
messages are not repeated: they may contain anything, even the password.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.transport.http import Response

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
MAX_SHOWN_CODES = 3


class Operation(StrEnum):
    """The purpose of a request, which decides what a refusal means."""

    PING = "connect to"
    PULL = "pull from"
    PUSH = "push to"
    TAG = "write a tag to"
    DELETE = "delete from"
    CATALOG = "list"


DENIED = {
    Operation.PING: FaultCode.AUTH_BAD_CREDENTIALS,
    Operation.PULL: FaultCode.PULL_DENIED,
    Operation.PUSH: FaultCode.PUSH_DENIED,
    Operation.TAG: FaultCode.PUSH_DENIED,
    Operation.DELETE: FaultCode.PUSH_DENIED,
    Operation.CATALOG: FaultCode.PULL_DENIED,
}

CORRUPT_CODES = frozenset(
    {
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "SIZE_INVALID",
    }
)
"""Parts of the upload were lost or damaged; another attempt may succeed."""

IMMUTABLE_STATUSES = frozenset({409, 412})
"""The statuses of a registry that refuses to move a tag; ECR answers 400 and TAG_INVALID."""

DELETE_UNSUPPORTED_STATUSES = frozenset({405, 412})
"""The statuses of a registry that refuses to delete any image, or this one by a rule (Harbor)."""

DELETE_UNSUPPORTED_CODES = frozenset({"UNSUPPORTED", "DIGEST_INVALID"})
"""Registries that delete only digests answer ``DIGEST_INVALID`` for a tag."""


class _OciError(BaseModel):
    code: str = ""


class _OciErrors(BaseModel):
    errors: list[_OciError] = []


def make_response_error(
    response: Response, operation: Operation, subject: str, *, is_anonymous: bool
) -> RegistryError:
    """Make the error for a response that is not the expected one.

    ``subject`` is what the request was about, ``host/repository``; ``is_anonymous`` if no login was
    sent.
    """
    codes = parse_error_codes(response)
    return RegistryError(
        _diagnose(response, codes, operation, is_anonymous=is_anonymous),
        f"cannot {operation} {subject}",
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


def make_not_a_registry_error(response: Response, subject: str) -> RegistryError:
    """Make the error for a response of ``/v2/`` that is not of the registry protocol."""
    return RegistryError(
        FaultCode.NOT_A_REGISTRY,
        f"{subject} is not a registry",
        evidence=_describe(response, ()),
    )


def parse_error_codes(response: Response) -> tuple[str, ...]:
    """Return the codes of an OCI error body, in order; none if there is no such body."""
    try:
        parsed = _OciErrors.model_validate(response.json())
    except ValidationError:
        return ()
    return tuple(error.code for error in parsed.errors if _CODE.fullmatch(error.code))


def is_registry(response: Response) -> bool:
    """Return whether a response of ``/v2/`` without a challenge can only be a registry's."""
    if response.is_html:
        return False
    return "Docker-Distribution-Api-Version" in response.headers or isinstance(
        response.json(), dict
    )


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait, from 0 to a day (RFC 9110, section 10.2.3).

    Nothing waits here: `shared.faults` says which codes are retried, and the function
    ``worker_v1.finish`` queues the job again after at least this pause, up to an hour.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), 86_400.0)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), 86_400.0)


def _diagnose(
    response: Response, codes: tuple[str, ...], operation: Operation, *, is_anonymous: bool
) -> FaultCode:
    if "TOOMANYREQUESTS" in codes:
        return FaultCode.RATE_LIMITED
    if rule := _diagnose_rule(response, codes, operation):
        return rule
    if CORRUPT_CODES & set(codes):
        return FaultCode.UPLOAD_CORRUPT
    match response.status:
        case 429:
            code = FaultCode.RATE_LIMITED
        case 407:
            code = FaultCode.PROXY_ERROR
        case 401:
            code = FaultCode.AUTH_MISSING if is_anonymous else DENIED[operation]
        case 403:
            code = _diagnose_forbidden(response, codes, operation)
        case 404:
            code = _diagnose_not_found(response, codes, operation)
        case 413:
            code = FaultCode.LAYER_TOO_LARGE
        case status:
            code = _diagnose_other(status, codes)
    return code


def _diagnose_rule(
    response: Response, codes: tuple[str, ...], operation: Operation
) -> FaultCode | None:
    """Return the code if the registry forbids the operation to every login."""
    if operation is Operation.TAG and (
        response.status in IMMUTABLE_STATUSES or "TAG_INVALID" in codes
    ):
        return FaultCode.TAG_IMMUTABLE
    if operation is Operation.DELETE and (
        response.status in DELETE_UNSUPPORTED_STATUSES or DELETE_UNSUPPORTED_CODES & set(codes)
    ):
        return FaultCode.DELETE_UNSUPPORTED
    return None


def _diagnose_forbidden(
    response: Response, codes: tuple[str, ...], operation: Operation
) -> FaultCode:
    # A registry asks for a login first; only a proxy in front of it answers "forbidden".
    has_no_body = response.method == "HEAD" and not response.is_html
    if operation is not Operation.PING and (codes or has_no_body):
        return DENIED[operation]
    return FaultCode.BLOCKED_BY_PROXY


def _diagnose_not_found(
    response: Response, codes: tuple[str, ...], operation: Operation
) -> FaultCode:
    if operation is Operation.PING or response.is_html:
        return FaultCode.NOT_A_REGISTRY
    if operation in {Operation.PUSH, Operation.TAG} or "NAME_UNKNOWN" in codes:
        return FaultCode.REPO_MISSING
    return FaultCode.IMAGE_NOT_FOUND


def _diagnose_other(status: int, codes: tuple[str, ...]) -> FaultCode:
    if "NAME_INVALID" in codes or "TAG_INVALID" in codes:
        return FaultCode.REF_INVALID
    if status >= 500 or codes:
        return FaultCode.REGISTRY_ERROR
    return FaultCode.NOT_A_REGISTRY


def _describe(response: Response, codes: tuple[str, ...]) -> str:
    parts = [f"HTTP {response.status}", *codes[:MAX_SHOWN_CODES]]
    if response.is_html:
        parts.append("a web page")
    if response.is_redirect and response.location:
        parts.append(f"redirects to {response.location.host}")
    return ", ".join(parts)
