"""``POST /api/deploy/<token>``: what a registry calls when an image was pushed."""

from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from api.deploy_hooks.receiving import RECEIVE
from api.errors import NoEffectError, WrongMethodError
from api.http.body import read_body
from api.http.calls import Call, Failure, log_refusal
from api.http.perform import perform
from api.http.plain import plain_error, plain_response
from api.procedure.context import Resources
from shared.errors import WharfError


def add_deploy_hooks(
    app: Starlette, resources: Callable[[], Resources], methods: Sequence[str]
) -> None:
    """Give it its route, for all methods and all that is below: no other door sees a token."""

    async def deploy_hook(request: Request) -> Response:
        return await answer_deploy_hook(resources(), request.path_params["token"], request)

    app.add_route("/api/deploy/{token:path}", deploy_hook, methods=list(methods))


async def answer_deploy_hook(resources: Resources, token: str, request: Request) -> Response:
    """Answer a push with its result; the token appears in no log and in no answer."""
    try:
        if request.method != "POST":
            raise WrongMethodError("a deploy hook is called by POST", allowed="POST")
        if request.query_params:
            raise NoEffectError(
                f"a deploy hook reads no query parameters: {', '.join(request.query_params)[:200]}",
                remedy="Remove them from its URL. The notification names the tag or the commit.",
            )
        body = await read_body(request, resources.bodies)
    except WharfError as error:
        return plain_error(log_refusal(request, Failure(RECEIVE.name, error), name=RECEIVE.name))
    fields = {"token": token, "headers": dict(request.headers), "body": body}
    [answer] = await perform(resources, request, [Call(RECEIVE.name, RECEIVE, lambda: fields)])
    return plain_response(answer)
