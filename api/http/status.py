"""Map each error to its HTTP status and its tRPC code."""

from dataclasses import dataclass

from api.errors import (
    NoProcedureError,
    NotOfferedError,
    RequestTimeoutError,
    TooLargeError,
    TooManyError,
    UnavailableError,
    WrongMediaTypeError,
    WrongMethodError,
)
from shared.errors import (
    ConflictError,
    FailedJobError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    OverdueError,
    QueueFullError,
    UnauthenticatedError,
    UnmetConditionError,
    WharfError,
)


@dataclass(frozen=True)
class Status:
    """``name`` and ``number`` are tRPC's, from its package's table; ``http`` goes with them."""

    name: str
    number: int
    http: int


INTERNAL = Status("INTERNAL_SERVER_ERROR", -32603, 500)

STATUSES: dict[type[WharfError], Status] = {
    InvalidInputError: Status("BAD_REQUEST", -32600, 400),
    FailedJobError: Status("BAD_REQUEST", -32600, 400),
    UnauthenticatedError: Status("UNAUTHORIZED", -32001, 401),
    ForbiddenError: Status("FORBIDDEN", -32003, 403),
    NotFoundError: Status("NOT_FOUND", -32004, 404),
    NotOfferedError: Status("NOT_IMPLEMENTED", -32603, 501),
    NoProcedureError: Status("NOT_FOUND", -32004, 404),
    WrongMethodError: Status("METHOD_NOT_SUPPORTED", -32005, 405),
    QueueFullError: Status("TOO_MANY_REQUESTS", -32029, 429),
    ConflictError: Status("CONFLICT", -32009, 409),
    UnmetConditionError: Status("PRECONDITION_FAILED", -32012, 412),
    TooLargeError: Status("PAYLOAD_TOO_LARGE", -32013, 413),
    WrongMediaTypeError: Status("UNSUPPORTED_MEDIA_TYPE", -32015, 415),
    RequestTimeoutError: Status("TIMEOUT", -32008, 408),
    TooManyError: Status("TOO_MANY_REQUESTS", -32029, 429),
    UnavailableError: Status("SERVICE_UNAVAILABLE", -32603, 503),
    OverdueError: Status("GATEWAY_TIMEOUT", -32603, 504),
    WharfError: INTERNAL,
}


def status_of(error: WharfError) -> Status:
    """Return the status of the error's nearest class that has one."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
