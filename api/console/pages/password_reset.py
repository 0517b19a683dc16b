"""Choose a new password by a link that an administrator, or the operator, made."""

from pydantic import SecretStr
from starlette.responses import Response

from api.accounts.password_resets import use
from api.accounts.passwords import MIN_CHARACTERS, require_length
from api.console.page import ROOT, Page, PageRoute
from api.console.pages.sign_in import browser_of
from api.console.session import clear_cookie
from api.http.status import status_of
from shared.errors import InvalidInputError, WharfError


async def show(page: Page, error: WharfError | None = None) -> Response:
    """Show the form; the link is checked when it is sent."""
    return page.render(
        "account/reset.html",
        status=status_of(error).http if error else 200,
        error=error,
        min_characters=MIN_CHARACTERS,
    )


async def submit(page: Page) -> Response:
    """Store the new password, and ask to sign in with it."""
    password = page.form.get("password", "")
    try:
        require_length(password)
        if password != page.form.get("again", ""):
            raise InvalidInputError(
                "the two passwords are not the same", remedy="Enter the new password twice."
            )
        await use(page.resources, page.param("token"), SecretStr(password), browser_of(page))
    except WharfError as error:
        return await show(page, error)
    response = page.redirect(f"{ROOT}/sign-in", "The password is changed. Sign in with it.")
    clear_cookie(response)
    return response


ROUTES = (
    PageRoute("/reset/{token}", show, is_public=True),
    PageRoute("/reset/{token}", submit, "POST", is_public=True),
)
