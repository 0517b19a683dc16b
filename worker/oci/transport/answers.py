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
from worker.oci.transport.messages import classify

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
MAX_SHOWN_CODES = 3


class Operation(StrEnum):
    """The purpose of a request, which decides what a refusal means."""

    PING = "connect to"
    LIST = "list the tags of"
    PULL = "pull"
    READ = "read"
    PUSH = "push to"
    TAG = "push"
    DELETE = "delete"
    CATALOG = "list the repositories of"


DENIED = {
    Operation.PING: FaultCode.AUTH_BAD_CREDENTIALS,
    Operation.LIST: FaultCode.PULL_DENIED,
    Operation.PULL: FaultCode.PULL_DENIED,
    Operation.READ: FaultCode.PULL_DENIED,
    Operation.PUSH: FaultCode.PUSH_DENIED,
    Operation.TAG: FaultCode.PUSH_DENIED,
    Operation.DELETE: FaultCode.PUSH_DENIED,
    Operation.CATALOG: FaultCode.PULL_DENIED,
}

WRITES = frozenset({Operation.PUSH, Operation.TAG})

WORDS_COUNT = {
    FaultCode.TLS_CLIENT_CERT: frozenset({400, 403}),
    FaultCode.AUTH_EXPIRED: frozenset({400, 401, 403}),
    FaultCode.AUTH_BAD_CREDENTIALS: frozenset({401, 403}),
    FaultCode.BLOCKED_BY_PROXY: frozenset({401, 403}),
    FaultCode.REPO_MISSING: frozenset({400, 401, 403, 404}),
}
"""The statuses with which a registry's words count; without an entry all refusals of writes."""

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

STATUS_CODES = {
    407: FaultCode.PROXY_ERROR,
    413: FaultCode.LAYER_TOO_LARGE,
    423: FaultCode.AUTH_BAD_CREDENTIALS,  # the account is locked
}

LOCKED_REMEDY = "Unlock the account at the registry, or use another one."

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

LOGIN_CODES = frozenset(
    {FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.AUTH_MISSING, FaultCode.AUTH_EXPIRED}
)

DELETE_UNSUPPORTED_STATUSES = frozenset({405, 412})
"""The statuses of a registry that refuses to delete any image, or this one by a rule (Harbor)."""

DELETE_UNSUPPORTED_CODES = frozenset({"UNSUPPORTED", "DIGEST_INVALID"})
"""Registries that delete only digests answer ``DIGEST_INVALID`` for a tag."""


class _OciError(BaseModel):
    code: str = ""


class _OciErrors(BaseModel):
    errors: list[_OciError] = []


def make_response_error(
    response: Response,
    operation: Operation,
    subject: str,
    *,
    is_anonymous: bool,
    is_proved: bool = False,
) -> RegistryError:
    """Make the error for a response that is not the expected one.

    ``subject`` is what the request was about, ``host/repository``; ``is_anonymous`` if no login was
    sent. ``is_proved`` if the host is known to be a registry, so that its web pages are its own.
    """
    codes = parse_error_codes(response)
    code = _diagnose(response, codes, operation, is_anonymous=is_anonymous)
    is_below = operation is not Operation.PING
    if is_proved and is_below and response.status == 404 and code is FaultCode.NOT_A_REGISTRY:
        code = _diagnose_missing(codes, operation)
    verb = "log in to" if operation is Operation.PING and code in LOGIN_CODES else operation
    is_locked = response.status == 423
    reason = "the account is locked" if is_locked else REASONS.get(code, "it refused the request")
    return RegistryError(
        code,
        f"cannot {verb} {subject}: {reason}",
        remedy=LOCKED_REMEDY if is_locked else "",
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


def has_words(response: Response) -> bool:
    """Return whether the words of a refusal alone tell its cause."""
    return response.status >= 400 and bool(
        classify(response.body, response.url, is_page=response.is_html)
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


def is_registry(response: Response) -> bool | None:
    """Return whether a success of ``/v2/`` is a registry's; ``None`` if it may be anyone's.

    Most registries send a header of their own; the specification requires only the status.
    """
    if response.is_html:
        return False
    if has_registry_header(response):
        return True
    return None if response.json() == {} or not response.body.strip() else False


def has_registry_header(response: Response) -> bool:
    return "Docker-Distribution-Api-Version" in response.headers


def is_registrys(response: Response) -> bool:
    """Return whether a response below ``/v2/`` shows by its form that a registry made it."""
    content = response.json()
    is_list = isinstance(content, dict) and bool({"tags", "repositories"} & set(content))
    return has_registry_header(response) or bool(parse_error_codes(response)) or is_list


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
    if "TOOMANYREQUESTS" in codes or response.status == 429:
        return FaultCode.RATE_LIMITED
    found = _diagnose_words(response, operation, is_anonymous=is_anonymous)
    found = found or _diagnose_rule(response, codes, operation)
    if found or CORRUPT_CODES & set(codes):
        return found or FaultCode.UPLOAD_CORRUPT
    return _diagnose_status(response, codes, operation, is_anonymous=is_anonymous)


def _diagnose_status(
    response: Response, codes: tuple[str, ...], operation: Operation, *, is_anonymous: bool
) -> FaultCode:
    match response.status:
        case 401:
            return FaultCode.AUTH_MISSING if is_anonymous else DENIED[operation]
        case 403:
            return _diagnose_forbidden(response, codes, operation)
        case 404:
            return _diagnose_not_found(response, codes, operation)
        case status:
            return _diagnose_write(response, operation) or _diagnose_other(status, codes)


def _diagnose_write(response: Response, operation: Operation) -> FaultCode | None:
    if operation not in WRITES:
        return None
    if response.status in {402, 507}:
        return FaultCode.QUOTA_EXCEEDED
    is_read_only = response.status == 405 and not response.is_html
    return FaultCode.REGISTRY_READ_ONLY if is_read_only else None


def _diagnose_words(
    response: Response, operation: Operation, *, is_anonymous: bool
) -> FaultCode | None:
    """Return the code of the registry's own words, if they fit the status and the operation."""
    if response.status < 400:
        return None
    code = classify(response.body, response.url, is_page=response.is_html)
    if code is None or (code is FaultCode.AUTH_EXPIRED and is_anonymous):
        return None
    if code is FaultCode.REPO_MISSING and operation is Operation.PING:
        return None
    counts = WORDS_COUNT.get(code)
    is_fitting = operation in WRITES if counts is None else response.status in counts
    return code if is_fitting else None


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
    if response.is_html:
        return FaultCode.BLOCKED_BY_PROXY
    if operation is Operation.PING and not (codes and response.has_login):
        return FaultCode.BLOCKED_BY_PROXY
    if operation is Operation.PING:
        is_refused = "UNAUTHORIZED" in codes
        return FaultCode.AUTH_BAD_CREDENTIALS if is_refused else FaultCode.PULL_DENIED
    content = response.json()
    has_errors = isinstance(content, dict) and "errors" in content
    if codes or has_errors or has_registry_header(response) or response.method == "HEAD":
        return DENIED[operation]
    return FaultCode.BLOCKED_BY_PROXY


def _diagnose_not_found(
    response: Response, codes: tuple[str, ...], operation: Operation
) -> FaultCode:
    if operation is Operation.PING or response.is_html:
        return FaultCode.NOT_A_REGISTRY
    return _diagnose_missing(codes, operation)


def _diagnose_missing(codes: tuple[str, ...], operation: Operation) -> FaultCode:
    if operation in WRITES | {Operation.LIST} or "NAME_UNKNOWN" in codes:
        return FaultCode.REPO_MISSING
    if operation is Operation.READ or "BLOB_UNKNOWN" in codes:
        return FaultCode.IMAGE_INCOMPLETE
    return FaultCode.IMAGE_NOT_FOUND


def _diagnose_other(status: int, codes: tuple[str, ...]) -> FaultCode:
    if status in STATUS_CODES:
        return STATUS_CODES[status]
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
