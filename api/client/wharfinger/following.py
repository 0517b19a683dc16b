"""Follow jobs, builds and deployments until they have ended."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import httpx2
from pydantic import JsonValue

from wharfinger.caller import SILENT, Caller
from wharfinger.calls import Call, Model
from wharfinger.errors import ApiError
from wharfinger.failures import may_repeat
from wharfinger.models import Build, Deployment, JobDetail, JobState

ENDS = frozenset({"succeeded", "failed", "cancelled", "expired"})
POLL = timedelta(seconds=0.5)
STEPS_BEFORE_DEPLOYMENT = 2
"""The jobs of a build that a deployment waits for: not the copy to the rollback registry."""


class Event(Model):
    """An event of a job: a stored one with ``seq``, ``at`` and ``data``, or a ``snapshot``.

    A snapshot shows the ``progress`` of the running attempt: for a transfer the bytes, the rate and
    the time left.
    """

    job_id: str
    kind: str
    state: JobState | None
    attempt: int
    seq: int | None = None
    at: datetime | None = None
    data: JsonValue = None
    progress: dict[str, JsonValue] | None = None

    @property
    def text(self) -> str:
        """Return the text of a ``log`` event; empty for others."""
        text = self.data.get("text") if self.kind == "log" and isinstance(self.data, dict) else ""
        return str(text or "")


OnEvent = Callable[[Event], None]


class _Ending(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def error(self) -> dict[str, JsonValue] | None: ...
    @property
    def finished_at(self) -> datetime | None: ...


Ending = TypeVar("Ending", bound=_Ending)


async def wait_for_job(
    caller: Caller,
    job_id: str,
    *,
    timeout: timedelta | None = None,
    on_event: OnEvent | None = None,
    check: bool = True,
) -> JobDetail:
    """Wait until a job has ended, and return it.

    ``on_event`` gets its events as they happen. A broken connection is opened again; no event
    is lost or given twice.

    Raises:
        ApiError: the job did not succeed, unless ``check`` is false; with its code, message
            and remedy. After the timeout the code is ``wait_timeout``, and the job goes on;
            the time is looked at every 15 s or more often.
    """
    deadline = _Deadline(caller, f"job {job_id}", timeout)
    await _follow(caller, job_id, deadline, on_event)
    ended = await caller.perform(_job(job_id))
    return _require_success(f"job {job_id}", ended, job_id) if check else ended


async def wait_for_build(
    caller: Caller,
    build_id: str,
    *,
    timeout: timedelta | None = None,
    on_event: OnEvent | None = None,
    check: bool = True,
) -> Build:
    """Wait until a build has ended, and return it; ``on_event`` gets the events of its jobs.

    Raises:
        ApiError: as for a job.
    """
    deadline = _Deadline(caller, f"build {build_id}", timeout)
    ended = await _wait(caller, _build(build_id), lambda build: build.job_ids, deadline, on_event)
    return _require_success(f"build {build_id}", ended) if check else ended


async def wait_for_deployment(
    caller: Caller,
    deployment_id: str,
    *,
    timeout: timedelta | None = None,
    on_event: OnEvent | None = None,
    check: bool = True,
) -> Deployment:
    """Wait until a deployment has ended, and return it.

    ``on_event`` gets the events of its jobs: first of its own build, if it has one, then of
    each server.

    Raises:
        ApiError: as for a job.
    """
    deadline = _Deadline(caller, f"deployment {deployment_id}", timeout)
    one = Call[Deployment]("deployment.one", Deployment, "GET", {"deploymentId": deployment_id})
    first = await caller.perform(one)
    steps: list[str] = []
    if first.build_id == deployment_id:
        build = await caller.perform(_build(deployment_id))
        steps = build.job_ids[:STEPS_BEFORE_DEPLOYMENT]

    def jobs_of(shown: Deployment) -> list[str]:
        return [*steps, *(job_id for server in shown.servers for job_id in server.job_ids)]

    ended = await _wait(caller, one, jobs_of, deadline, on_event)
    return _require_success(f"deployment {deployment_id}", ended) if check else ended


async def follow_events(
    caller: Caller, job_id: str, *, after: int | None = None, timeout: timedelta | None = None
) -> AsyncGenerator[Event, None]:
    """Yield the events of a job until it has ended, those after a number if one is given.

    Raises:
        ApiError: the API refused it, or cannot be reached; ``wait_timeout`` after the timeout.
    """
    deadline = _Deadline(caller, f"job {job_id}", timeout)
    async with aclosing(_events(caller, job_id, after, deadline)) as events:
        async for event in events:
            yield event


class _Deadline:
    """The time until which a caller waits."""

    def __init__(self, caller: Caller, name: str, timeout: timedelta | None) -> None:
        self.name, self.timeout = name, timeout
        self._now = caller.connection.now
        self._began = self._now()

    @property
    def remaining(self) -> timedelta:
        """Return the time left; much if there is no limit."""
        if self.timeout is None:
            return timedelta.max
        return self.timeout - timedelta(seconds=self._now() - self._began)

    def check(self) -> None:
        """Raise if the time is over."""
        if self.remaining <= timedelta(0):
            raise ApiError(
                f"{self.name} has not ended within {self.timeout}; it goes on",
                code="wait_timeout",
                remedy="Wait longer, or cancel it.",
            )


async def _wait(
    caller: Caller,
    one: Call[Ending],
    jobs_of: Callable[[Ending], Sequence[str]],
    deadline: _Deadline,
    on_event: OnEvent | None,
) -> Ending:
    followed: set[str] = set()
    while True:
        shown = await caller.perform(one)
        job_id = next((each for each in jobs_of(shown) if each not in followed), None)
        has_ended = shown.finished_at is not None
        if job_id is not None and not (has_ended and on_event is None):
            # Also after the end: a stream shows what its reader missed.
            followed.add(job_id)
            await _follow(caller, job_id, deadline, on_event)
        elif has_ended:
            return shown
        else:
            deadline.check()
            await caller.connection.sleep(min(POLL, deadline.remaining))


async def _follow(
    caller: Caller, job_id: str, deadline: _Deadline, on_event: OnEvent | None
) -> None:
    async with aclosing(_events(caller, job_id, None, deadline)) as events:
        async for event in events:
            if on_event is not None:
                on_event(event)


async def _events(
    caller: Caller, job_id: str, last: int | None, deadline: _Deadline
) -> AsyncGenerator[Event, None]:
    failures = 0
    while True:
        deadline.check()
        silent = min(SILENT, deadline.remaining)
        try:
            async with caller.listen(job_id, last, deadline.check, silent) as received:
                if received is None:
                    return
                async for each in received:
                    if not each.data:
                        continue
                    event = _parse(job_id, each)
                    failures, last = 0, event.seq or last
                    yield event
                    if event.kind == "state" and event.state in ENDS:
                        return
        except ApiError as error:
            deadline.check()
            failures += 1
            pause = caller.pause(failures, error) if may_repeat(_job(job_id), error) else None
            if pause is None:
                raise
        else:
            # The stream ended: the job had ended before, or this process of the API stops.
            if (await caller.perform(_job(job_id))).finished_at is not None:
                return
            pause = POLL
        await caller.connection.sleep(min(pause, deadline.remaining))


def _parse(job_id: str, received: httpx2.ServerSentEvent) -> Event:
    try:
        data = json.loads(received.data)
        return Event.model_validate({**data, "jobId": job_id, "kind": received.event})
    except (TypeError, ValueError):
        raise ApiError(
            f"an event of job {job_id} is not what this version of the client expects",
            code="answer_unreadable",
            remedy="Use the client of the API's version.",
        ) from None


def _job(job_id: str) -> Call[JobDetail]:
    return Call("job.one", JobDetail, "GET", {"jobId": job_id})


def _build(build_id: str) -> Call[Build]:
    return Call("build.one", Build, "GET", {"buildId": build_id})


def _require_success(name: str, ended: Ending, job_id: str | None = None) -> Ending:
    if ended.state == "succeeded":
        return ended
    error = ended.error or {}
    raise ApiError(
        str(error.get("message") or f"{name} is {ended.state}"),
        code=str(error.get("code") or ended.state),
        remedy=str(error.get("remedy") or "") or None,
        job_id=job_id,
    )
