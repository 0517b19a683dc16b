"""Sign in by an OpenID Connect provider: two redirects, without a form."""

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from api.accounts.attempts import recorded
from api.accounts.sessions import begin_by_provider
from api.console.page import HEADERS, ROOT, Page, PageRoute
from api.console.pages.sign_in import browser_of, next_of
from api.console.session import set_cookie
from api.errors import ProviderAwayError
from api.http.status import status_of
from shared.errors import InvalidInputError, NotFoundError, WharfError

if TYPE_CHECKING:
    from api.accounts.oidc import Provider

COOKIE = "wharf_sign_in"
PATH = f"{ROOT}/sign-in/provider"
MAX_PARAMETER = 2000
COOKIE_SECONDS = 600


async def begin(page: Page) -> Response:
    """Send the browser to the provider."""
    provider = _require_provider(page)
    target, invitation = next_of(page.query.get("next", "")), page.query.get("invitation", "")
    try:
        address, cookie = await provider.begin(target[:MAX_PARAMETER], invitation[:100])
    except WharfError as error:
        return _show(page, error)
    response = RedirectResponse(address, 303, headers=HEADERS)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=COOKIE_SECONDS,
        path=PATH,
        httponly=True,
        samesite="lax",
        secure=page.request.url.scheme == "https",
    )
    return response


async def finish(page: Page) -> Response:
    """Verify what the provider says, and begin a session."""
    try:
        target, token = await _sign_in(page, _require_provider(page))
    except WharfError as error:
        response = _show(page, error)
    else:
        response = page.redirect(target)
        set_cookie(page.request, response, token)
    response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax")
    return response


async def _sign_in(page: Page, provider: "Provider") -> tuple[str, str]:
    browser, limits = browser_of(page), page.resources.sign_ins
    async with recorded(page.resources, "provider", "", browser.address) as attempt:
        limits.take(browser.address, b"")
        cookie, state = page.request.cookies.get(COOKIE, ""), page.query.get("state", "")
        begun = provider.open(cookie, state)
        if page.query.get("error"):
            raise InvalidInputError(
                "the sign-in provider did not sign you in", remedy="Begin again."
            )
        try:
            identity = await provider.finish(begun, page.query.get("code", "")[:MAX_PARAMETER])
        except ProviderAwayError:
            limits.give_back(browser.address)
            raise
        attempt.email = identity.email
        proof = provider.settings.proof
        token = await begin_by_provider(
            page.resources.pool, proof, identity, begun.invitation, browser
        )
        limits.give_back(browser.address)
        return begun.next, token


def _require_provider(page: Page) -> "Provider":
    if page.provider is None:
        raise NotFoundError("there is no such page")
    return page.provider


def _show(page: Page, error: WharfError) -> Response:
    status = status_of(error).http
    return page.render("account/sign_in.html", status=status, error=error, needs_code=False)


ROUTES = (
    PageRoute("/sign-in/provider", begin, is_public=True),
    PageRoute("/sign-in/provider/callback", finish, is_public=True),
)
