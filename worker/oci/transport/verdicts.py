"""The code of a refused request: from its status, its OCI error codes and the registry's words.

The codes are those of the OCI distribution specification, section "Error Codes".
"""

from enum import StrEnum

from shared.faults import FaultCode
from worker.oci.transport.http import Response
from worker.oci.transport.messages import classify
from worker.oci.transport.shape import has_registry_header, parse_error_codes


class Operation(StrEnum):
    """The purpose of a request, which decides what a refusal means."""

    PING = "connect to"
    LIST = "list the tags of"
    LOOK_UP = "look up"
    PULL = "pull"
    READ = "read"
    PUSH = "push to"
    TAG = "push"
    DELETE = "delete"
    CATALOG = "list the repositories of"


DENIED = {
    Operation.PING: FaultCode.AUTH_BAD_CREDENTIALS,
    Operation.LIST: FaultCode.PULL_DENIED,
    Operation.LOOK_UP: FaultCode.PULL_DENIED,
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

STATUS_CODES = {
    407: FaultCode.PROXY_ERROR,
    413: FaultCode.LAYER_TOO_LARGE,
    423: FaultCode.AUTH_BAD_CREDENTIALS,  # the account is locked
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


def diagnose(
    response: Response, operation: Operation, *, is_anonymous: bool, is_proved: bool = False
) -> FaultCode:
    """Return the code of a response; ``is_proved`` if the host is known to be a registry."""
    codes = parse_error_codes(response)
    code = _diagnose(response, codes, operation, is_anonymous=is_anonymous)
    is_below = operation is not Operation.PING
    if is_proved and is_below and response.status == 404 and code is FaultCode.NOT_A_REGISTRY:
        return _diagnose_missing(codes, operation)
    return code


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
            code = _diagnose_forbidden(response, codes, operation)
            is_denied = code is not FaultCode.BLOCKED_BY_PROXY
            return FaultCode.AUTH_MISSING if is_denied and is_anonymous else code
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
