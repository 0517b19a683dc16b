"""What a registry's refusal means: HTTP status and OCI error codes as `RegistryError`.

The codes are those of the OCI distribution specification, section "Error Codes". The registry's
own sentences are not repeated: they may hold anything, the password included.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.transport.http import Answer

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")
MAX_SHOWN_CODES = 3


class Asked(StrEnum):
    """What a request was for: it decides what a refusal means."""

    PING = "speak to"
    PULL = "pull from"
    PUSH = "push to"
    TAG = "write a tag in"
    DELETE = "delete from"
    CATALOG = "list"


DENIED = {
    Asked.PING: FaultCode.AUTH_BAD_CREDENTIALS,
    Asked.PULL: FaultCode.PULL_DENIED,
    Asked.PUSH: FaultCode.PUSH_DENIED,
    Asked.TAG: FaultCode.PUSH_DENIED,
    Asked.DELETE: FaultCode.PUSH_DENIED,
    Asked.CATALOG: FaultCode.PULL_DENIED,
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
"""Something of what was sent did not arrive, or not as it was: sent again it may."""

IMMUTABLE_STATUSES = frozenset({409, 412})
"""How a registry refuses to move a tag; ECR says 400 and TAG_INVALID."""

KEPT_STATUSES = frozenset({405, 412})
"""How a registry refuses to delete: all images, or by a rule this one (Harbor)."""

KEPT_CODES = frozenset({"UNSUPPORTED", "DIGEST_INVALID"})
"""The second one is said to a tag, by registries that delete nothing but digests."""


class _OciError(BaseModel):
    code: str = ""


class _OciErrors(BaseModel):
    errors: list[_OciError] = []


def make_answer_error(
    answer: Answer, asked: Asked, subject: str, *, as_nobody: bool
) -> RegistryError:
    """The diagnosis of an answer that is not what was asked for.

    ``subject`` is what was asked about, ``host/repository``; ``as_nobody`` that no login was sent.
    """
    codes = error_codes(answer)
    return RegistryError(
        _diagnose(answer, codes, asked, as_nobody=as_nobody),
        f"cannot {asked} {subject}",
        evidence=_describe(answer, codes),
        retry_after_seconds=parse_retry_after(answer.headers, datetime.now(UTC)),
    )


def make_strange(answer: Answer, subject: str) -> RegistryError:
    """A success whose content is not what the specification says."""
    return RegistryError(
        FaultCode.NOT_A_REGISTRY if answer.is_html else FaultCode.REGISTRY_ERROR,
        f"{subject} answers something that is not of the registry protocol",
        evidence=_describe(answer, ()),
    )


def make_no_registry(answer: Answer, subject: str) -> RegistryError:
    """An answer of ``/v2/`` that shows no sign of the registry protocol."""
    return RegistryError(
        FaultCode.NOT_A_REGISTRY,
        f"{subject} does not answer as a registry",
        evidence=_describe(answer, ()),
    )


def error_codes(answer: Answer) -> tuple[str, ...]:
    """The codes of an OCI error body, in order; none where the body is none."""
    try:
        parsed = _OciErrors.model_validate(answer.json())
    except ValidationError:
        return ()
    return tuple(error.code for error in parsed.errors if _CODE.fullmatch(error.code))


def is_registry(answer: Answer) -> bool:
    """Whether an answer of ``/v2/`` without a challenge can only be a registry's."""
    if answer.is_html:
        return False
    return "Docker-Distribution-Api-Version" in answer.headers or isinstance(answer.json(), dict)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait (RFC 9110, section 10.2.3); never negative, at most a day."""
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
    answer: Answer, codes: tuple[str, ...], asked: Asked, *, as_nobody: bool
) -> FaultCode:
    if "TOOMANYREQUESTS" in codes:
        return FaultCode.RATE_LIMITED
    if rule := _find_rule(answer, codes, asked):
        return rule
    if CORRUPT_CODES & set(codes):
        return FaultCode.UPLOAD_CORRUPT
    match answer.status:
        case 429:
            code = FaultCode.RATE_LIMITED
        case 407:
            code = FaultCode.PROXY_ERROR
        case 401:
            code = FaultCode.AUTH_MISSING if as_nobody else DENIED[asked]
        case 403:
            code = _diagnose_forbidden(answer, codes, asked)
        case 404:
            code = _diagnose_not_found(answer, codes, asked)
        case 413:
            code = FaultCode.LAYER_TOO_LARGE
        case status:
            code = _diagnose_other(status, codes)
    return code


def _find_rule(answer: Answer, codes: tuple[str, ...], asked: Asked) -> FaultCode | None:
    """What a registry lets nobody do."""
    if asked is Asked.TAG and (answer.status in IMMUTABLE_STATUSES or "TAG_INVALID" in codes):
        return FaultCode.TAG_IMMUTABLE
    if asked is Asked.DELETE and (answer.status in KEPT_STATUSES or KEPT_CODES & set(codes)):
        return FaultCode.DELETE_UNSUPPORTED
    return None


def _diagnose_forbidden(answer: Answer, codes: tuple[str, ...], asked: Asked) -> FaultCode:
    # Before any login a registry asks for one; only what stands in front of it says "forbidden".
    has_no_body = answer.method == "HEAD" and not answer.is_html
    if asked is not Asked.PING and (codes or has_no_body):
        return DENIED[asked]
    return FaultCode.BLOCKED_BY_PROXY


def _diagnose_not_found(answer: Answer, codes: tuple[str, ...], asked: Asked) -> FaultCode:
    if asked is Asked.PING or answer.is_html:
        return FaultCode.NOT_A_REGISTRY
    if asked in {Asked.PUSH, Asked.TAG} or "NAME_UNKNOWN" in codes:
        return FaultCode.REPO_MISSING
    return FaultCode.IMAGE_NOT_FOUND


def _diagnose_other(status: int, codes: tuple[str, ...]) -> FaultCode:
    if "NAME_INVALID" in codes or "TAG_INVALID" in codes:
        return FaultCode.REF_INVALID
    if status >= 500 or codes:
        return FaultCode.REGISTRY_ERROR
    return FaultCode.NOT_A_REGISTRY


def _describe(answer: Answer, codes: tuple[str, ...]) -> str:
    words = [f"HTTP {answer.status}", *codes[:MAX_SHOWN_CODES]]
    if answer.is_html:
        words.append("a web page")
    if answer.is_redirect and answer.location:
        words.append(f"leads to {answer.location.host}")
    return ", ".join(words)
