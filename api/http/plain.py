"""Plain answers: the bare value, or ``{message, code, data, issues?}``."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, JsonValue
from starlette.responses import Response

from api.errors import InvalidFieldsError, TooManyError, UnavailableError, WrongMethodError
from api.fields.issues import flatten
from api.http.calls import Answer, Failure, Success
from api.http.status import status_of
from shared.errors import FailedJobError, OverdueError, QueueFullError, WharfError


class ErrorCause(BaseModel):
    """The stable code, the failed stage of a test, the remedy, and the job if there was one."""

    code: str
    stage: str | None
    remedy: str | None
    jobId: str | None  # noqa: N815 - as on the wire


class ErrorData(BaseModel):
    """The status, the path, and the details of an error."""

    code: str
    httpStatus: int  # noqa: N815 - as on the wire
    path: str
    zodError: dict[str, JsonValue] | None  # noqa: N815 - as on the wire
    cause: ErrorCause | None = None


class ErrorBody(BaseModel):
    """Every error of ``/api/<router>.<procedure>``."""

    message: str
    code: str
    data: ErrorData
    issues: list[dict[str, JsonValue]] | None = None


def plain_response(answer: Answer) -> Response:
    """Return the response for an answer."""
    if isinstance(answer, Failure):
        return plain_error(answer)
    headers = {**NO_STORE, **warning_header([answer])}
    return Response(answer.shown, answer.http, media_type="application/json", headers=headers)


def plain_error(failure: Failure) -> Response:
    error = failure.error
    body: dict[str, Any] = {
        "message": error.message,
        "code": status_of(error).name,
        "data": error_data(error, failure.path),
    }
    if isinstance(error, InvalidFieldsError):
        body["issues"] = error.issues
    headers = {**NO_STORE, **extra_headers(error)}
    return Response(dump(body), failure.http, media_type="application/json", headers=headers)


def error_data(error: WharfError, path: str | None) -> dict[str, Any]:
    """Return tRPC's error object, with Dokploy's ``zodError`` and, where known, ``cause``."""
    status = status_of(error)
    data: dict[str, Any] = {"code": status.name, "httpStatus": status.http}
    if path is not None:
        data["path"] = path
    data["zodError"] = flatten(error.issues) if isinstance(error, InvalidFieldsError) else None
    cause = _cause(error)
    if cause["code"] not in _CODES_OF_STATUS or cause["remedy"]:
        data["cause"] = cause
    return data


def extra_headers(error: WharfError) -> dict[str, str]:
    match error:
        case WrongMethodError():
            return {"allow": error.allowed}
        case TooManyError() | UnavailableError() | QueueFullError():
            return {"retry-after": str(error.retry_after_seconds)}
        case _:
            return {}


def warning_header(answers: Iterable[Answer]) -> dict[str, str]:
    """Return the header that names fields without effect, as a JSON array in ASCII.

    An answer that is a bare ``true`` can name them nowhere else.
    """
    found = [each for answer in answers if isinstance(answer, Success) for each in answer.warnings]
    if not found:
        return {}
    text = json.dumps([each.model_dump() for each in found])
    if len(text) > MAX_HEADER_CHARACTERS:
        text = json.dumps([each.model_dump(include={"field", "code"}) for each in found])
    return {WARNINGS: text}


def dump(value: object) -> bytes:
    """Return compact JSON, as JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


NO_STORE = {"cache-control": "no-store"}
WARNINGS = "x-wharf-warnings"
MAX_HEADER_CHARACTERS = 3000
"""Proxies accept headers of at least 4 KiB; longer reasons are left out."""

_CODES_OF_STATUS = {
    "bad_input",
    "unreadable_input",
    "unauthenticated",
    "not_found",
    "conflict",
    "no_procedure",
    "wrong_method",
    "wrong_media_type",
    "too_large",
    "internal",
}


def _cause(error: WharfError) -> dict[str, str | None]:
    stage = error.ended.stage if isinstance(error, FailedJobError) else None
    job_id = error.job_id if isinstance(error, FailedJobError | OverdueError) else None
    return {"code": error.code, "stage": stage, "remedy": error.remedy or None, "jobId": job_id}
