"""Perform the procedures that a request calls: authenticate, check the role, validate, run."""

import asyncio
import time
import traceback
from collections.abc import Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from starlette.requests import Request

from api.errors import InternalError
from api.fields.effects import FieldWarning
from api.fields.shapes import Accepted
from api.http.calls import UNKNOWN, Answer, AnyProcedure, Call, Failure, Success
from api.http.rate_headers import ROOM
from api.http.status import INTERNAL, status_of
from api.http.unavailable import AWAY, cost_its_connection, explain_unavailable
from api.operations.http_metrics import BATCH, COUNTED_NAME
from api.procedure.application_limits import require_applications
from api.procedure.auth import HEADER, authenticate, require_role
from api.procedure.context import NOBODY, Caller, Context, Resources
from api.procedure.idempotency import Repeatable, answer_once, read_key
from api.procedure.key_limits import require_procedure
from api.procedure.procedure import Procedure
from api.procedure.source_networks import require_source
from shared.coroutines import within
from shared.errors import InvalidInputError, WharfError
from shared.networks import network_of

Result = TypeVar("Result")

CALLER_SECONDS = 10.0
"""The time limit for finding the key of a request, also if PostgreSQL is frozen."""

CALLS_AT_ONCE = 32
"""The calls of one batch that run concurrently, so that it leaves connections to others."""

NO_KEY = FieldWarning(
    field="Idempotency-Key",
    message="Idempotency-Key has no effect on a query, which changes nothing",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class _SharedCall:
    """The data that the calls of one request share; ``host`` is the client's address."""

    resources: Resources
    caller: Caller | WharfError
    host: str
    respond_async: bool


class CallerGoneError(Exception):
    """The caller disconnected."""


async def perform(
    resources: Resources, request: Request, calls: Sequence[Call], caller: Caller | None = None
) -> list[Answer]:
    """Run the calls of one request at once; their answers in the same order.

    The caller is the one of the request's API key, unless it is given.

    Raises:
        CallerGoneError: the client went away while a job was waited for; that job is cancelled.
    """
    work = _all(await start(resources, request, calls, caller))
    if any(isinstance(call.procedure, Procedure) and call.procedure.waits for call in calls):
        return await _while_connected(request, work)
    return await work


async def start(
    resources: Resources, request: Request, calls: Sequence[Call], known: Caller | None = None
) -> list[asyncio.Task[Answer]]:
    """Start the calls of one request, some at once, the others in turn; return their tasks."""
    request.scope[COUNTED_NAME] = _name_for_metrics(calls)
    host = client_of(request)
    caller = known or await _identify(resources, request, host, calls)
    shared = _SharedCall(resources, caller, host, _prefers_async(request))
    room = asyncio.Semaphore(CALLS_AT_ONCE)
    with structlog.contextvars.bound_contextvars(**_named(host, caller)):
        return [
            asyncio.create_task(_answer_in_turn(room, shared, call, _key(request, position)))
            for position, call in enumerate(calls)
        ]


def client_of(request: Request) -> str:
    """Return the address of the client; empty if it is unknown."""
    return request.client.host if request.client else ""


def _name_for_metrics(calls: Sequence[Call]) -> str:
    """Return the only procedure, or ``batch``; no name that a client made up."""
    if len(calls) != 1:
        return BATCH
    procedure = calls[0].procedure
    return procedure.name if isinstance(procedure, Procedure) else UNKNOWN


def _named(host: str, caller: Caller | WharfError) -> dict[str, str]:
    """Return the caller, for the log."""
    if isinstance(caller, WharfError) or caller is NOBODY:
        return {"address": host}
    organization_id, key_id = caller.organization_id, caller.actor_id or ""
    return {"address": host, "organization": organization_id, "key_id": key_id}


async def _all(tasks: Sequence[asyncio.Task[Answer]]) -> list[Answer]:
    return await asyncio.gather(*tasks)


async def _identify(
    resources: Resources, request: Request, host: str, calls: Sequence[Call]
) -> Caller | WharfError:
    """Return the caller, or the error for those calls that need a key."""
    if not any(call.needs_key for call in calls):
        return NOBODY
    address, count = network_of(host), len(calls)
    try:
        caller = await _find_caller(resources, request.headers.get(HEADER), host, count)
        request.scope[ROOM] = resources.limiter.require_room(
            caller.actor_id or "", count, caller.organization_id, address
        )
    except WharfError as error:
        return error
    except (*AWAY, TimeoutError) as error:
        return explain_unavailable(resources, error)
    return caller


async def _find_caller(resources: Resources, key: str | None, host: str, count: int) -> Caller:
    """Return the caller of a key that may be used from there; else count for the address.

    What a key's own limit refuses is not counted for the address: others may share it.
    """
    address = network_of(host)
    resources.limiter.require_address(address, count)
    try:
        finding = authenticate(resources.pool, resources.guesses, address, key)
        caller = await within(CALLER_SECONDS, finding)
        await require_source(resources, caller, host)
    except WharfError:
        resources.limiter.count_address(address, count)
        raise
    return caller


def _key(request: Request, position: int) -> Repeatable | WharfError | None:
    try:
        return read_key(request, position)
    except WharfError as error:
        return error


async def _answer_in_turn(
    room: asyncio.Semaphore, shared: _SharedCall, call: Call, key: Repeatable | WharfError | None
) -> Answer:
    async with room:
        return await _answer(shared, call, key)


async def _answer(shared: _SharedCall, call: Call, key: Repeatable | WharfError | None) -> Answer:
    began = time.monotonic()
    resources = shared.resources
    total = call.total.total_seconds() if call.total else None
    try:
        async with asyncio.timeout(total) as limit:
            answer: Answer = await _run(shared, call, key)
    except WharfError as error:
        answer = Failure(call.path, _presentable(error))
    except AWAY as error:
        answer = Failure(call.path, explain_unavailable(resources, error))
    except Exception as error:  # noqa: BLE001 - the edge: whatever it is, the client learns nothing of it
        if limit.expired() or cost_its_connection(error):
            answer = Failure(call.path, explain_unavailable(resources, error))
        else:
            log_defect(call.logged, error)
            answer = Failure(call.path, InternalError())
    milliseconds = round((time.monotonic() - began) * 1000, 1)
    log.info("call", procedure=call.logged, status=answer.http, milliseconds=milliseconds)
    return answer


async def _run(shared: _SharedCall, call: Call, key: Repeatable | WharfError | None) -> Success:
    caller = shared.caller if call.needs_key else NOBODY
    if isinstance(caller, WharfError):
        raise caller
    procedure = call.procedure
    if isinstance(procedure, WharfError):
        raise procedure
    if procedure.role is not None:
        require_role(caller, procedure.role)
        require_procedure(caller, procedure.name)
    raw = call.read()
    request = procedure.parse(raw)
    respond_async = shared.respond_async or call.respond_async
    context = Context(
        shared.resources,
        caller,
        respond_async,
        address=network_of(shared.host),
        host=shared.host,
        warnings=request.warnings,
        expected=call.expected,
    )
    await require_applications(context, procedure, request)
    context.check_effects(request, None)

    async def run(context: Context) -> tuple[bytes, bool]:
        output = await procedure.run(context, request)
        shown = procedure.show(output, context.warnings)
        return shown, isinstance(output, Accepted) and procedure.waits

    with context.waiting() if procedure.waits and not respond_async else nullcontext():
        if procedure.kind == "query" and key is not None:
            context.warnings.append(NO_KEY)
        if key is None or procedure.kind == "query":
            shown, is_accepted = await run(context)
        else:
            good_key = _require_key(procedure, key)
            request_hash = good_key.hash(procedure.name, raw)
            shown, is_accepted = await answer_once(context, good_key, request_hash, run)
    return Success(call.path, shown, 202 if is_accepted else 200, context.warnings)


def _require_key(procedure: AnyProcedure, key: Repeatable | WharfError) -> Repeatable:
    """Return the key; refuse it for a procedure that does not submit a job."""
    if isinstance(key, WharfError):
        raise key
    if not procedure.submits:
        raise InvalidInputError(
            f"{procedure.name} takes no Idempotency-Key",
            remedy="Leave it out here: only procedures that submit a job take one.",
        )
    return key


async def _while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise CallerGoneError
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _prefers_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(preference.strip() == "respond-async" for preference in preferences)


def _presentable(error: WharfError) -> WharfError:
    if status_of(error) is not INTERNAL or isinstance(error, InternalError):
        return error
    log_defect("", error)
    return InternalError()


def log_defect(name: str, error: Exception) -> None:
    """Log the class of an error and its lines, not its text, which may hold values."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    log.error("defect", procedure=name, error=type(error).__name__, places=lines)
