"""Decide whether a request of ``/api/trpc/<router>.<procedure>`` is tRPC or bare.

*tRPC* is ``batch=1``, or an ``input=`` or a body that holds ``{"json": …}``: see `api.http.trpc`.

*Bare*, for people with curl, is everything else: see `api.http.bare`.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.http.bare import answer_bare
from api.http.body import read_body
from api.http.calls import UNKNOWN, Failure, Procedures, log_refusal
from api.http.plain import plain_error
from api.http.trpc.jsonl import answer_lines, wants_lines
from api.http.trpc.protocol import VARY, answer_batch, answer_single
from api.http.trpc.superjson import holds_superjson
from api.procedure.context import Resources
from shared.errors import WharfError


async def answer_in_dialect(
    resources: Resources, procedures: Procedures, path: str, request: Request
) -> Response:
    """Answer one request in the dialect that it is written in."""
    if request.method == "HEAD":
        return Response(status_code=204, headers=VARY)
    try:
        body = b"" if request.method == "GET" else await read_body(request, resources.bodies)
    except WharfError as error:
        name = path if path in procedures else UNKNOWN
        return plain_error(log_refusal(request, Failure(path, error), name=name))
    if request.query_params.get("batch") == "1":
        if wants_lines(request):
            return await answer_lines(resources, procedures, path, request, body)
        return await answer_batch(resources, procedures, path, request, body)
    if holds_superjson(request.query_params.get("input") if request.method == "GET" else body):
        return await answer_single(resources, procedures, path, request, body)
    return await answer_bare(resources, procedures, path, request, body)
