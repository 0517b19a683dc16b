"""Answer a batch of tRPC as JSON lines, each call as soon as it has ended.

``httpBatchStreamLink`` of ``@trpc/client`` 11 asks for them with ``trpc-accept:
application/jsonl``. The first line is the head: for each call ``[[0],[null,0,n]]``, a value that
follows as chunk ``n``. Then come the chunks, ``[n,0,[[value]]]``. Each line is superjson.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.http.calls import Answer, Failure, Procedures
from api.http.perform import start
from api.http.plain import NO_STORE, dump
from api.http.status import status_of
from api.http.trpc.protocol import VARY, error_shape, read_batch
from api.jobs.event_stream import StreamedResponse
from api.procedure.context import Resources
from shared.coroutines import end
from shared.errors import WharfError

ACCEPT = "trpc-accept"
JSON_LINES = "application/jsonl"


def wants_lines(request: Request) -> bool:
    """Return whether the client reads JSON lines."""
    return request.headers.get(ACCEPT) == JSON_LINES


async def answer_lines(
    resources: Resources, procedures: Procedures, path: str, request: Request, body: bytes
) -> Response:
    """Answer a batch line by line. An error of the whole request is that of each call."""
    calls = read_batch(procedures, path, request, body)
    if isinstance(calls, WharfError):
        count = path.count(",") + 1
        lines = [_line(index, Failure(None, calls)) for index in range(count)]
        status = status_of(calls).http
        content = b"".join([_head(count), *lines])
        headers = {**VARY, **NO_STORE}
        return Response(content, status, media_type="application/json", headers=headers)
    tasks = await start(resources, request, calls)
    return StreamedResponse(_head(len(tasks)), _lines(tasks), "application/json", VARY)


async def _lines(tasks: Sequence[asyncio.Task[Answer]]) -> AsyncIterator[bytes]:
    pending = {task: index for index, task in enumerate(tasks)}
    try:
        while pending:
            ended, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                yield _line(pending.pop(task), task.result())
    finally:
        await end(*tasks)


def _head(count: int) -> bytes:
    return dump({"json": {str(index): [[0], [None, 0, index]] for index in range(count)}}) + b"\n"


def _line(index: int, answer: Answer) -> bytes:
    if isinstance(answer, Failure):
        shown = b'{"error":' + dump(error_shape(answer.error, answer.path)) + b"}"
    else:
        shown = b'{"result":{"data":' + answer.shown + b"}}"
    return b'{"json":[%d,0,[[' % index + shown + b"]]]}\n"
