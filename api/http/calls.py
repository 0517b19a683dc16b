"""The calls of procedures that a request makes, and their answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from starlette.requests import Request

from api.errors import NoProcedureError, WrongMethodError
from api.fields.effects import FieldWarning
from api.http.published import find_reason
from api.http.status import status_of
from api.procedure.procedure import Procedure
from api.procedure.versions import RowVersion
from shared.errors import WharfError

AnyProcedure = Procedure[Any, Any]
Procedures = Mapping[str, AnyProcedure]

UNKNOWN = "unknown"
TOTAL = timedelta(minutes=2)
"""The time limit of a call."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Call:
    """One procedure to run. ``read`` returns its raw input and is called for known callers only.

    ``procedure`` may be the error that there is none to run; ``guarded``: that too is
    reported to known callers only. ``total`` is how long it may take. With ``respond_async`` it
    does not wait for its job, as with ``Prefer: respond-async``. ``expected`` is the version of
    the row that it may change.
    """

    path: str
    procedure: AnyProcedure | WharfError
    read: Callable[[], object]
    guarded: bool = False
    total: timedelta | None = TOTAL
    respond_async: bool = False
    expected: RowVersion | None = None

    @property
    def needs_key(self) -> bool:
        if isinstance(self.procedure, Procedure):
            return self.procedure.role is not None
        return self.guarded

    @property
    def logged(self) -> str:
        """Return the name for the log; an unknown name is left out, as it may be a secret."""
        return UNKNOWN if isinstance(self.procedure, NoProcedureError) else self.path[:100]


@dataclass(frozen=True)
class Success:
    """The result as JSON; ``http`` is 202 for a job that nobody waits for.

    ``warnings`` name the fields of the request that have no effect.
    """

    path: str
    shown: bytes
    http: int = 200
    warnings: Sequence[FieldWarning] = ()


@dataclass(frozen=True)
class Failure:
    """The error of a call, or with no path that of a whole request."""

    path: str | None
    error: WharfError

    @property
    def http(self) -> int:
        return status_of(self.error).http


Answer = Success | Failure


def find_procedure(procedures: Procedures, path: str) -> AnyProcedure | WharfError:
    """Return the procedure, or the error that there is none or that it is not offered."""
    missing = NoProcedureError(f'No procedure found on path "{path}"')
    return procedures.get(path) or find_reason(path) or missing


def make_wrong_method(procedure: AnyProcedure, method: str, allowed: str) -> WrongMethodError:
    return WrongMethodError(
        f'Unsupported {method}-request to {procedure.kind} procedure at path "{procedure.name}"',
        allowed=allowed,
    )


def log_refusal(request: Request, failure: Failure, *, name: str = UNKNOWN) -> Failure:
    """Log a request whose calls could not be read, and return the failure."""
    address = request.client.host if request.client else ""
    log.info("call", procedure=name, status=failure.http, milliseconds=0.0, address=address)
    return failure
