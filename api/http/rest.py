"""``/api/<router>.<procedure>``: GET queries, POST mutations, as `/openapi.json` has them."""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.builds.context_upload import UPLOAD
from api.errors import NoProcedureError
from api.fields.issues import Undefined
from api.fields.json_text import parse_json
from api.http.bare import flat_input
from api.http.body import read_body, require_json, require_one_input
from api.http.calls import AnyProcedure, Call, Failure, log_refusal
from api.http.perform import perform
from api.http.plain import plain_error, plain_response
from api.http.published import find_reason
from api.http.sse import answer_events
from api.http.uploads import answer_upload
from api.jobs.event_access import EVENTS
from api.procedure.context import Resources
from shared.errors import WharfError

Endpoint = Callable[[Request], Awaitable[Response]]


def add_procedure(
    app: Starlette, procedure: AnyProcedure, resources: Callable[[], Resources]
) -> None:
    """Give a procedure its route."""
    _add(app, procedure.name, procedure.method, _endpoint(procedure, resources))


def add_events(app: Starlette, resources: Callable[[], Resources]) -> None:
    """Give the stream of a job's events its route."""

    async def endpoint(request: Request) -> Response:
        return await answer_events(resources(), request)

    _add(app, EVENTS.name, "GET", endpoint)


def add_upload(app: Starlette, resources: Callable[[], Resources]) -> None:
    """Give the upload of a context its route."""

    async def endpoint(request: Request) -> Response:
        return await answer_upload(resources(), request)

    _add(app, UPLOAD.name, "POST", endpoint)


def _add(app: Starlette, name: str, method: str, endpoint: Endpoint) -> None:
    route = Route(f"/api/{name}", endpoint, methods=[method])
    # A route for GET also answers HEAD, but a query has no answer without a body.
    route.methods = {method}
    app.router.routes.append(route)


async def answer_unknown(resources: Resources, path: str, request: Request) -> Response:
    """Answer all other paths below ``/api/``: 401 without a key, 404 or 501 with one."""
    error = find_reason(path) or NoProcedureError("Not found")
    call = Call(path, error, lambda: None, guarded=True)
    [answer] = await perform(resources, request, [call])
    return plain_response(answer)


def _endpoint(procedure: AnyProcedure, resources: Callable[[], Resources]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            large = resources().bodies
            body = b"" if request.method == "GET" else await read_body(request, large)
        except WharfError as error:
            failure = Failure(procedure.name, error)
            return plain_error(log_refusal(request, failure, name=procedure.name))

        def read() -> object:
            require_one_input(request, body=request.method != "GET")
            if request.method == "GET":
                return flat_input(request)
            if not body:
                return Undefined.VALUE
            require_json(request)
            return parse_json(body)

        call = Call(procedure.name, procedure, read)
        [answer] = await perform(resources(), request, [call])
        return plain_response(answer)

    return endpoint
