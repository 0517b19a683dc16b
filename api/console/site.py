"""``/console``: find the session, check the form, run the page's handler."""

from collections.abc import Callable
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from api.accounts.sessions import find_session
from api.console.assets import ROOT as STATIC
from api.console.assets import answer_asset
from api.console.page import HEADERS, ROOT, Page, PageRoute, Procedures, Visitor, read_form
from api.console.pages import ROUTES
from api.console.session import (
    CSRF_FIELD,
    CSRF_HEADER,
    clear_cookie,
    csrf_token,
    read_cookie,
    require_csrf,
    require_same_origin,
)
from api.http.body import read_body
from api.http.perform import CallerGoneError
from api.http.status import status_of
from api.http.unavailable import AWAY, explain_unavailable
from api.procedure.context import Resources
from shared.errors import NotFoundError, WharfError

SIGN_IN = f"{ROOT}/sign-in"

GetResources = Callable[[], Resources]
Endpoint = Callable[[Request], object]


def add_console(app: Starlette, resources: GetResources, procedures: Procedures) -> None:
    """Add the routes of the console."""

    async def static(request: Request) -> Response:
        return answer_asset(request.path_params["path"])

    app.add_route(f"{STATIC}/{{path:path}}", static, methods=["GET"])
    for route in (*ROUTES, PageRoute("/{path:path}", _refuse_unknown)):
        _add(app, route, resources, procedures)


def _add(app: Starlette, route: PageRoute, resources: GetResources, procedures: Procedures) -> None:
    async def endpoint(request: Request) -> Response:
        page = Page(request, resources(), procedures)
        try:
            return await _answer(page, route)
        except CallerGoneError:
            raise
        except WharfError as error:
            return _show_error(page, error)
        except AWAY as error:
            return _show_error(page, explain_unavailable(page.resources, error))

    app.add_route(f"{ROOT}{route.path}", endpoint, methods=[route.method])


async def _answer(page: Page, route: PageRoute) -> Response:
    request, resources = page.request, page.resources
    token = read_cookie(request)
    visitor = None if route.is_public else await _find_visitor(page, token)
    if visitor is None and not route.is_public:
        return _ask_to_sign_in(page, had_session=token is not None)
    form = {}
    if route.method == "POST":
        require_same_origin(request)
        form = read_form(await read_body(request, resources.bodies))
        if visitor is not None:
            require_csrf(token or "", form.pop(CSRF_FIELD, request.headers.get(CSRF_HEADER, "")))
    page = Page(request, resources, page.procedures, visitor, form)
    if visitor is not None:
        resources.limiter.require_room(visitor.caller.actor_id or "", 1)
    try:
        return await route.handler(page)
    except WharfError as error:
        return _show_error(page, error)


async def _find_visitor(page: Page, token: str | None) -> Visitor | None:
    found = await find_session(page.resources.pool, token)
    return Visitor(found, csrf_token(token)) if found and token else None


def _ask_to_sign_in(page: Page, *, had_session: bool) -> Response:
    path = page.request.url.path
    asks = {"next": page.address()} if page.request.method == "GET" and path != ROOT else {}
    response = page.redirect(f"{SIGN_IN}?{urlencode(asks)}" if asks else SIGN_IN)
    if had_session:
        clear_cookie(response)
    if page.request.headers.get("hx-request"):
        # A fragment cannot show another page: htmx loads this address as a whole page.
        return Response(status_code=401, headers={**HEADERS, "hx-redirect": SIGN_IN})
    return response


async def _refuse_unknown(_page: Page) -> Response:
    raise NotFoundError("there is no such page")


def _show_error(page: Page, error: WharfError) -> Response:
    return page.render("error.html", status=status_of(error).http, error=error)
