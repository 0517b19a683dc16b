"""Sign in, join by an invitation, sign out."""

from pydantic import SecretStr
from starlette.responses import Response

from api.accounts.passwords import MIN_CHARACTERS, require_length
from api.accounts.sessions import Browser, NewUser, SignIn, end_session, join, sign_in
from api.console.page import ROOT, Page, PageRoute
from api.console.session import clear_cookie, set_cookie
from api.errors import CodeNeededError
from api.http.status import status_of
from shared.errors import InvalidInputError, WharfError
from shared.networks import network_of

MAX_NAME = 200
MAX_EMAIL = 320
MAX_USER_AGENT = 300


async def show(page: Page) -> Response:
    """Show the form."""
    return page.render("account/sign_in.html", needs_code=False)


async def submit(page: Page) -> Response:
    """Check the form; begin a session."""
    form = SignIn(
        email=page.form.get("email", "")[:MAX_EMAIL],
        password=SecretStr(page.form.get("password", "")),
        code=page.form.get("code", ""),
    )
    try:
        token = await sign_in(page.resources, form, browser_of(page))
    except WharfError as error:
        needs_code = isinstance(error, CodeNeededError) or bool(form.code)
        status = status_of(error).http
        return page.render(
            "account/sign_in.html", status=status, error=error, needs_code=needs_code
        )
    response = page.redirect(next_of(page.form.get("next", "")))
    set_cookie(page.request, response, token)
    return response


async def show_invitation(page: Page) -> Response:
    """Show the form for an invited person; the link is checked when it is sent."""
    return page.render("account/join.html", min_characters=MIN_CHARACTERS, needs_code=False)


async def accept_invitation(page: Page) -> Response:
    """Create the account, or add the membership to the one that there is; begin a session."""
    try:
        user = _read_user(page)
        token = await join(page.resources, page.param("token"), user, browser_of(page))
    except WharfError as error:
        return page.render(
            "account/join.html",
            status=status_of(error).http,
            error=error,
            min_characters=MIN_CHARACTERS,
            needs_code=isinstance(error, CodeNeededError) or bool(page.form.get("code")),
        )
    response = page.redirect(ROOT, "Welcome.")
    set_cookie(page.request, response, token)
    return response


async def sign_out(page: Page) -> Response:
    """End this session, or all of the user."""
    everywhere = page.form.get("everywhere") == "true"
    await end_session(page.resources.pool, page.caller, everywhere=everywhere)
    response = page.redirect(f"{ROOT}/sign-in", "You have signed out.")
    clear_cookie(response)
    return response


def browser_of(page: Page) -> Browser:
    """Return the browser of a request."""
    host = page.request.client.host if page.request.client else ""
    return Browser(network_of(host), page.request.headers.get("user-agent", "")[:MAX_USER_AGENT])


def _read_user(page: Page) -> NewUser:
    email, name = page.form.get("email", "").strip(), page.form.get("name", "").strip()
    password = page.form.get("password", "")
    local, _, domain = email.rpartition("@")
    if not local or not domain or len(email) > MAX_EMAIL or not email.isprintable():
        raise InvalidInputError("this is no e-mail address", remedy="Write it as name@example.com.")
    if not name or len(name) > MAX_NAME:
        raise InvalidInputError("the name is missing or too long", remedy="Enter your name.")
    require_length(password)
    return NewUser(name, email, SecretStr(password), page.form.get("code", ""))


def next_of(address: str) -> str:
    """Return where to go after the sign-in: a page of the console only."""
    is_ours = address.startswith(f"{ROOT}/") and "\\" not in address and "//" not in address
    return address if is_ours else ROOT


ROUTES = (
    PageRoute("/sign-in", show, is_public=True),
    PageRoute("/sign-in", submit, "POST", is_public=True),
    PageRoute("/join/{token}", show_invitation, is_public=True),
    PageRoute("/join/{token}", accept_invitation, "POST", is_public=True),
    PageRoute("/sign-out", sign_out, "POST", is_from_anywhere=True),
)
