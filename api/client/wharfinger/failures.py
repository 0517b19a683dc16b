"""Errors of single attempts: what failed, and whether the attempt may be repeated."""

import ssl
from collections.abc import Iterator
from typing import TypeVar

import httpx2
from pydantic import BaseModel, JsonValue, ValidationError

from wharfinger.calls import Call
from wharfinger.errors import ApiError
from wharfinger.retries import parse_retry_after

Answer = TypeVar("Answer")

TOO_MANY = 429
AWAY = frozenset({502, 503, 504})

NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


CODES = {
    "BAD_REQUEST": "bad_input",
    "UNAUTHORIZED": "unauthenticated",
    "NOT_FOUND": "not_found",
    "METHOD_NOT_SUPPORTED": "wrong_method",
    "CONFLICT": "conflict",
    "PAYLOAD_TOO_LARGE": "too_large",
    "UNSUPPORTED_MEDIA_TYPE": "wrong_media_type",
    "INTERNAL_SERVER_ERROR": "internal",
}
"""The stable codes of errors for which the API answers the name of the status alone."""


class _Cause(BaseModel):
    code: str
    stage: str | None = None
    remedy: str | None = None
    jobId: str | None = None  # noqa: N815 - as on the wire


class _Data(BaseModel):
    cause: _Cause | None = None


class _Refusal(BaseModel):
    message: str
    code: str
    data: _Data = _Data()
    issues: list[dict[str, JsonValue]] = []


def may_repeat(call: Call[Answer], error: ApiError) -> bool:
    """Return whether another attempt may succeed and cannot do anything twice.

    A query changes nothing, and the API does a call with an ``Idempotency-Key`` once. Any other
    call is repeated only if it was not sent, or was refused before it began.
    """
    if error.code == "unreachable" or error.status == TOO_MANY:
        return True
    if error.code != "no_answer" and error.status not in AWAY:
        return False
    # A query with a job submitted it: a repetition would submit another one.
    return call.takes_key or (call.method == "GET" and error.job_id is None)


def read_refusal(url: str, answer: httpx2.Response) -> ApiError:
    """Return the error that the API answered, or that this is not the API."""
    request_id = answer.headers.get("x-request-id")
    retry_after = parse_retry_after(answer.headers.get("retry-after"))
    try:
        refusal = _Refusal.model_validate_json(answer.content)
    except ValidationError:
        return ApiError(
            f"{url} answers with status {answer.status_code} and no document of the API",
            code="not_the_api",
            remedy="Check the URL, and the proxies on the way to the API.",
            status=answer.status_code,
            request_id=request_id,
            retry_after=retry_after,
        )
    cause = refusal.data.cause or _Cause(code=CODES.get(refusal.code, refusal.code.lower()))
    return ApiError(
        refusal.message,
        code=cause.code,
        remedy=cause.remedy,
        status=answer.status_code,
        request_id=request_id,
        job_id=cause.jobId,
        stage=cause.stage,
        issues=refusal.issues,
        retry_after=retry_after,
    )


def explain(url: str, error: httpx2.TransportError) -> ApiError:
    """Return the error of an attempt without an answer; it never quotes the request."""
    tls = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return ApiError(
            f"the certificate of {url} is not accepted: {tls.verify_message}",
            code="tls_failed",
            remedy="Give its CA as ca_file, or add it to the certificates of this machine.",
        )
    if tls is not None:
        return ApiError(
            f"{url} does not answer with TLS on this port",
            code="tls_failed",
            remedy="Check the port and the scheme of the URL.",
        )
    if isinstance(error, NOT_SENT):
        cause = str(error) or type(error).__name__
        return ApiError(
            f"{url} cannot be reached: {cause}",
            code="unreachable",
            remedy="Check the URL, and that the API runs.",
        )
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return ApiError(f"{url} cannot be used as a URL of HTTP", code="bad_url")
    kind = type(error).__name__
    return ApiError(
        f"{url} did not answer ({kind}); the call may have been done",
        code="no_answer",
        remedy="Check if it was done before you repeat it.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
