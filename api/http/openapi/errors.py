"""Error responses of the OpenAPI document, each with its status and with real examples."""

import json
from collections.abc import Sequence
from typing import Any

from api.errors import (
    InternalError,
    InvalidFieldsError,
    NameTakenError,
    RateLimitedError,
    RequestTimeoutError,
    TooLargeError,
    UnavailableError,
    WrongMediaTypeError,
)
from api.http.calls import AnyProcedure, Failure
from api.http.openapi.codes import show_codes
from api.http.openapi.objects import JOB_ID
from api.http.plain import plain_error
from shared.errors import (
    FailedJobError,
    ForbiddenError,
    NotFoundError,
    OverdueError,
    UnauthenticatedError,
    UnmetConditionError,
    WharfError,
)
from shared.faults import FAULTS, Fault, FaultCode

ERRORS: dict[int, tuple[str, str, *tuple[WharfError, ...]]] = {
    400: (
        "BadRequest",
        "The input is invalid, or the job that was waited for failed.",
        InvalidFieldsError(
            [
                {
                    "expected": "string",
                    "code": "invalid_type",
                    "path": ["registryId"],
                    "message": "Invalid input: expected string, received undefined",
                }
            ]
        ),
        FailedJobError(
            Fault(
                code=FaultCode.AUTH_BAD_CREDENTIALS,
                message="the registry ghcr.io refused the login",
                remedy=FAULTS[FaultCode.AUTH_BAD_CREDENTIALS].remedy,
                stage="auth",
            ),
            job_id=JOB_ID,
        ),
    ),
    401: (
        "Unauthorized",
        "The API key is missing, unknown or expired.",
        UnauthenticatedError("this API key is not known, or has expired"),
    ),
    403: (
        "Forbidden",
        "The role or the permissions of the API key do not allow this.",
        ForbiddenError(
            "this request needs an API key whose role is admin, and this key's is member",
            remedy="Use a key whose role is admin.",
        ),
    ),
    404: (
        "NotFound",
        "The organization has no such object.",
        NotFoundError("Registry not found"),
    ),
    408: (
        "RequestTimeout",
        "The body did not arrive in time.",
        RequestTimeoutError("the body did not arrive in time"),
    ),
    409: (
        "Conflict",
        "The object exists already, or its state does not allow this.",
        NameTakenError("a server named web-1 already exists"),
    ),
    412: (
        "PreconditionFailed",
        "Something that the work needs is missing or offline.",
        UnmetConditionError(
            "server_offline",
            "the server web-1 has not been online since 2026-07-01T09:00:00.000Z",
            remedy="Start its worker, or choose another server.",
        ),
    ),
    413: (
        "ContentTooLarge",
        "The body is larger than 1 MiB; for an upload, larger than the operator's limit.",
        TooLargeError("the body has more than 1 MiB"),
    ),
    415: (
        "UnsupportedMediaType",
        "The body has another media type than the operation names.",
        WrongMediaTypeError("the body is not application/json"),
    ),
    429: (
        "TooManyRequests",
        "Too many requests, or too many wrong keys. Wait for `Retry-After` seconds.",
        RateLimitedError(600, retry_after_seconds=12),
    ),
    500: ("InternalError", "An error of the API itself.", InternalError()),
    503: (
        "ServiceUnavailable",
        "The database does not answer, or there is no space. Wait for `Retry-After` seconds.",
        UnavailableError(),
    ),
    504: (
        "GatewayTimeout",
        "The job takes longer than the request may wait. The job continues.",
        OverdueError("the job is still running", job_id=JOB_ID, remedy="Follow it with job.one."),
    ),
}
"""Name and description of each error response, and errors that it is an answer to."""

OF_QUERIES = (400, 401, 403, 404, 429, 500, 503)
OF_MUTATIONS = (400, 401, 403, 404, 408, 409, 412, 413, 415, 429, 500, 503)
WAITING = (412, 504)
"""Of procedures that wait for a job: no server can take it, or it takes too long."""
WITH_DELAY = (429, 503)
PUBLIC_QUERIES = (400, 404, 429, 500, 503)


def make_error_responses(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the error responses by name; each has the schema and a real example."""
    delay = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return {
        name: {
            "description": description,
            "content": {"application/json": {"schema": schema, "examples": _examples(shown)}},
            **({"headers": delay} if status in WITH_DELAY else {}),
        }
        for status, (name, description, *shown) in ERRORS.items()
    }


def refer_to_errors(procedure: AnyProcedure) -> dict[str, Any]:
    """Return references to the error responses that an operation can have, by status."""
    of_queries = OF_QUERIES if procedure.role else PUBLIC_QUERIES
    statuses = OF_MUTATIONS if procedure.kind == "mutation" else of_queries
    waiting = WAITING if procedure.waits else ()
    return {
        str(status): {"$ref": f"#/components/responses/{ERRORS[status][0]}"}
        for status in dict.fromkeys((*statuses, *waiting))
    }


def describe_errors() -> str:
    """Describe the schema of errors, with a table of all codes."""
    return (
        "An error. `code` is the name of the status. `data.cause.code` is a stable code, "
        "`data.cause.remedy` says what to do, and `data.cause.jobId` names the job, if there is "
        "one. `data.cause` is absent where the status says it all. `issues` lists the invalid "
        f"fields.\n\n{show_codes()}"
    )


def _examples(errors: Sequence[WharfError]) -> dict[str, Any]:
    """The bodies that errors are answered with, by their codes."""
    return {
        error.code: {"value": json.loads(bytes(plain_error(Failure("registry.one", error)).body))}
        for error in errors
    }
