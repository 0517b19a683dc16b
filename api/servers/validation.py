"""``server.validate``: checks of a server; a failed one has a remedy."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from api.fields.shapes import Output, show_moment
from api.jobs.wait_reasons import approve_line
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.servers.queries import find_server
from api.servers.schemas import ChosenServer, find_second_worker
from shared.faults import FAULTS, FaultCode
from shared.models import Server, ServerEnrolment
from shared.versions.oldest import OLDEST_ENGINE_API, is_older

CheckName = Literal[
    "enrolled",
    "approved",
    "online",
    "worker",
    "secondWorker",
    "engine",
    "engineCalls",
    "engineApi",
    "healthChecks",
    "disk",
    "clock",
]

CLOCK_MAY_DIFFER_SECONDS = 5.0
"""A server checks certificates and tokens by its own clock; leases use the database's."""

LEAST_FREE_BYTES = 2 * 1024**3
ENGINE_FIELDS = ("engine_version", "image_store", "oldest_api_version", "newest_api_version")
_TEXT, _BYTES = TypeAdapter(str), TypeAdapter(int)


class Check(Output):
    """``isGood`` is null if it is unknown; a failed check has a remedy."""

    name: CheckName
    is_good: bool | None
    found: str
    remedy: str = ""


class ServerValidation(Output):
    """``isGood``: no check failed."""

    server_id: str
    is_good: bool
    checks: list[Check]


@dataclass(frozen=True)
class Facts:
    """The server's row, whether it is online, and whether it has joined."""

    server: Server
    online: bool
    enrolled: bool


async def validate(context: Context, request: ChosenServer) -> ServerValidation:
    """Return the state of a server: joined, online, worker, Engine, disk and clock."""
    async with context.transaction() as session:
        server, online = await find_server(session, context, request.server_id)
        enrolled = await session.get(ServerEnrolment, server.server_id) is not None
    checks = list(check_server(Facts(server, online, enrolled)))
    return ServerValidation(
        server_id=server.server_id,
        is_good=all(check.is_good is not False for check in checks),
        checks=checks,
    )


def check_server(facts: Facts) -> Iterator[Check]:
    """Yield the checks; for an offline server only those that do not depend on current data."""
    yield _check(
        "enrolled",
        "joined" if facts.enrolled else "never joined",
        "" if facts.enrolled else "Start its worker with a join token, or remove the server.",
    )
    if facts.enrolled:
        yield _approved(facts.server)
    yield from _second_worker(facts.server)
    yield _online(facts)
    if facts.online:
        yield _worker(facts.server)
        yield from _engine(facts.server)
        yield _clock(facts.server)


def _approved(server: Server) -> Check:
    if server.approved_at:
        return _check("approved", f"since {show_moment(server.approved_at)}")
    return _check(
        "approved", "not approved", f"Where wharf control runs: {approve_line(server.name)}"
    )


def _second_worker(server: Server) -> Iterator[Check]:
    if (at := find_second_worker(server)) is not None:
        remedy = (
            "If its state directory was not copied on purpose, remove the server and join it again."
        )
        yield _check("secondWorker", f"two workers used its key at {show_moment(at)}", remedy)


def _online(facts: Facts) -> Check:
    if facts.online:
        return _check("online", "online")
    seen = facts.server.seen_at
    found = f"offline since {show_moment(seen)}" if seen else "never online"
    return _check("online", found, "Start its worker and see its log, or remove the server.")


def _worker(server: Server) -> Check:
    expected, found = version("wharfinger"), server.worker_version or "unknown"
    return _check(
        "worker",
        found,
        "" if found == expected else f"The API is {expected}: update the older one.",
    )


def _engine(server: Server) -> Iterator[Check]:
    engine = server.engine or {}
    if not engine:
        yield _check("engine", "no answer", FAULTS[FaultCode.ENGINE_UNREACHABLE].remedy)
        return
    fields = {name: _text(engine.get(name)) for name in ENGINE_FIELDS}
    version = str(fields["engine_version"])
    name = version if version.startswith("Podman ") else f"Docker Engine {version}"
    found = f"{name}, image store {fields['image_store']}"
    yield _check("engine", found)
    if refused := engine.get("refused_calls"):
        yield _check(
            "engineCalls",
            f"refused: {', '.join(map(_text, refused if isinstance(refused, list) else []))}",
            "Allow these calls in the proxy in front of the server's Engine.",
        )
    yield _engine_api(fields["oldest_api_version"], fields["newest_api_version"])
    if engine.get("health_checks") is False:
        yield _check(
            "healthChecks",
            "Podman without systemd never runs the health check of a container",
            "Run systemd on this server, or deploy to it only what has no health check.",
        )
    yield _disk(engine.get("disk_free_bytes"))


def _engine_api(oldest: str, newest: str) -> Check:
    if "unknown" in {oldest, newest}:
        return Check(name="engineApi", is_good=None, found="unknown")
    is_old = is_older(newest, OLDEST_ENGINE_API)
    remedy = f"Update Docker: its API must be {OLDEST_ENGINE_API} or newer." if is_old else ""
    return _check("engineApi", f"{oldest} to {newest}", remedy)


def _disk(free: object) -> Check:
    try:
        free_bytes = _BYTES.validate_python(free)
    except ValidationError:
        return Check(name="disk", is_good=None, found="the worker cannot read the Engine's disk")
    is_full = free_bytes < LEAST_FREE_BYTES
    remedy = FAULTS[FaultCode.DISK_FULL].remedy if is_full else ""
    return _check("disk", f"{free_bytes / 1024**3:.1f} GiB free", remedy)


def _clock(server: Server) -> Check:
    ahead = server.clock_ahead_seconds
    if ahead is None:
        return Check(name="clock", is_good=None, found="not compared yet")
    found = f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    differs = abs(ahead) > CLOCK_MAY_DIFFER_SECONDS
    return _check("clock", found, "Synchronize the clocks with NTP." if differs else "")


def _check(name: CheckName, found: str, remedy: str = "") -> Check:
    return Check(name=name, is_good=not remedy, found=found, remedy=remedy)


def _text(value: object) -> str:
    """Return a text that a worker reported; "unknown" if it is something else."""
    try:
        return _TEXT.validate_python(value, strict=True)[:100] or "unknown"
    except ValidationError:
        return "unknown"


PROCEDURES = (Procedure("server.validate", "query", ChosenServer, ServerValidation, validate),)
