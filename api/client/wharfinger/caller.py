"""Perform calls: send, try again where that is safe, and read the answer or the error."""

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from wharfinger.calls import Call
from wharfinger.connection import Check, Connection, Request
from wharfinger.errors import ApiError
from wharfinger.failures import explain, may_repeat, read_refusal
from wharfinger.options import Options

Answer = TypeVar("Answer")

SILENT = timedelta(seconds=60)
"""The time limit for a pause of a stream; the API sends at least a comment every 15 s."""


class _Warning(BaseModel):
    field: str
    message: str = ""


_WARNINGS = TypeAdapter(list[_Warning])


class Caller:
    """A connection to the API, and how it is used."""

    def __init__(self, connection: Connection, url: str, options: Options) -> None:
        self.connection = connection
        self.url = url
        self.options = options

    async def perform(self, call: Call[Answer]) -> Answer:
        """Perform a call and return its answer.

        A call that submits work has one ``Idempotency-Key`` for all its attempts.

        Raises:
            ApiError: the API refused it, or gave no answer that can be used.
        """
        request, failures = _make_request(call), 0
        while True:
            try:
                answer = await self._attempt(request)
            except ApiError as error:
                failures += 1
                pause = self.pause(failures, error) if may_repeat(call, error) else None
                if pause is None:
                    raise
            else:
                return self._read(call, answer)
            await self.connection.sleep(pause)

    @asynccontextmanager
    async def listen(
        self, job_id: str, last: int | None, check: Check, silent: timedelta = SILENT
    ) -> AsyncGenerator[AsyncGenerator[httpx2.ServerSentEvent, None] | None, None]:
        """Open the events of a job after a number, with one attempt; `None` if there are no more.

        Raises:
            ApiError: the API refused it, or the connection broke, also while events are read.
        """
        request = Request(
            "GET",
            "/api/job.events",
            {"Last-Event-ID": str(last)} if last is not None else {},
            params={"jobId": job_id},
            read_seconds=min(silent, SILENT).total_seconds(),
        )
        try:
            async with self.connection.listen(request, check) as (answer, events):
                if not answer.is_success:
                    raise read_refusal(self.url, answer)
                yield events if answer.status_code == httpx2.codes.OK else None
        except httpx2.TransportError as error:
            raise explain(self.url, error) from error

    def pause(self, failures: int, error: ApiError) -> timedelta | None:
        """Return how long to wait after so many failures; `None` to give up."""
        return self.options.retries.pause(failures, error.retry_after)

    async def _attempt(self, request: Request) -> httpx2.Response:
        try:
            answer = await self.connection.send(request)
        except httpx2.TransportError as error:
            raise explain(self.url, error) from error
        if not answer.is_success:
            raise read_refusal(self.url, answer)
        return answer

    def _read(self, call: Call[Answer], answer: httpx2.Response) -> Answer:
        try:
            read = call.read(answer.content)
        except ValidationError:
            # Its own text would show the answer, which may hold a secret.
            raise ApiError(
                f"the answer to {call.procedure} is not what this version of the client expects",
                code="answer_unreadable",
                remedy="Use the client of the API's version, and check the URL.",
                status=answer.status_code,
                request_id=answer.headers.get("x-request-id"),
            ) from None
        for warning in _WARNINGS.validate_json(answer.headers.get("x-wharf-warnings", "[]")):
            self.options.on_warning(warning.message or warning.field)
        return read


def _make_request(call: Call[Answer]) -> Request:
    headers = dict(call.headers)
    if call.takes_key:
        headers["Idempotency-Key"] = call.idempotency_key or str(uuid.uuid4())
    if call.respond_async:
        headers["Prefer"] = "respond-async"
    path = f"/api/{call.procedure}"
    if call.content is not None:
        headers |= {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(call.content.size_bytes),
            "x-content-sha256": call.content.sha256,
        }
        return Request("POST", path, headers, params=_text(call.input), content=call.content)
    if call.method == "GET":
        return Request("GET", path, headers, params=_text(call.input))
    return Request("POST", path, headers, json=call.input)


def _text(values: dict[str, object]) -> dict[str, str]:
    """Return the values as query parameters."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
        if value is not None
    }
