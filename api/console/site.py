"""``/console``: find the session, check the form, run the page's handler."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING
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
from api.errors import InternalError, TooLargeError
from api.http.body import read_body
from api.http.perform import CallerGoneError, client_of, log_defect
from api.http.status import status_of
from api.http.unavailable import AWAY, explain_unavailable
from api.procedure.context import Resources
from api.procedure.source_networks import require_source
from shared.errors import NotFoundError, WharfError

if TYPE_CHECKING:
    from api.accounts.oidc import Provider

SIGN_IN = f"{ROOT}/sign-in"
MAX_PUBLIC_BYTES = 16 * 1024

GetResources = Callable[[], Resources]
Endpoint = Callable[[Request], object]


def add_console(
    app: Starlette,
    resources: GetResources,
    procedures: Procedures,
    provider: "Provider | None" = None,
) -> None:
    """Add the routes of the console."""

    async def static(request: Request) -> Response:
        return answer_asset(request.path_params["path"])

    app.add_route(f"{STATIC}/{{path:path}}", static, methods=["GET"])
    for route in (*ROUTES, PageRoute("/{path:path}", _refuse_unknown)):
        _add(app, route, resources, procedures, provider)


def _add(
    app: Starlette,
    route: PageRoute,
    resources: GetResources,
    procedures: Procedures,
    provider: "Provider | None",
) -> None:
    async def endpoint(request: Request) -> Response:
        page = Page(request, resources(), procedures, provider=provider)
        try:
            return await _answer(page, route)
        except CallerGoneError:
            raise
        except WharfError as error:
            return _show_error(page, error)
        except AWAY as error:
            return _show_error(page, explain_unavailable(page.resources, error))
        except Exception as error:  # noqa: BLE001 - the edge: the visitor learns nothing of it
            log_defect(f"console {route.path}", error)
            return _show_error(page, InternalError())

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
    if route.has_file and visitor is not None:
        require_csrf(visitor.csrf, request.headers.get(CSRF_HEADER, ""))
    elif route.method == "POST":
        body = await read_body(request, resources.bodies)
        if route.is_public and len(body) > MAX_PUBLIC_BYTES:
            raise TooLargeError("the form is too large", remedy="Send only what the form asks for.")
        form = read_form(body)
        if visitor is not None:
            require_csrf(visitor.csrf, form.pop(CSRF_FIELD, request.headers.get(CSRF_HEADER, "")))
    page = replace(page, visitor=visitor, form=form)
    if visitor is not None:
        caller = visitor.caller
        resources.limiter.require_room(caller.actor_id or "", 1, caller.organization_id)
    try:
        if visitor is not None and not route.is_from_anywhere:
            await require_source(resources, visitor.caller, client_of(request))
        return await route.handler(page)
    except WharfError as error:
        return _show_error(page, error)


async def _find_visitor(page: Page, token: str | None) -> Visitor | None:
    found = await find_session(page.resources.pool, token)
    if found is None or token is None:
        return None
    return Visitor(found, csrf_token(token, found.caller.organization_id))


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
