"""The account of the person who signed in, and the organizations it belongs to."""

import re
from typing import cast

from pydantic import SecretStr
from starlette.responses import Response

from api.accounts import account, api_keys
from api.accounts.api_keys import CreateApiKey, CreatedApiKey, create_for
from api.accounts.members import leave
from api.accounts.passwords import MAX_CHARACTERS, MIN_CHARACTERS, require_length
from api.accounts.second_factor import factor_url, make_factor
from api.console.page import ROOT, Page, PageRoute
from api.http.status import status_of
from api.procedure.context import Context
from shared.errors import InvalidInputError, WharfError

MAX_NAME = 200
_SECRET = re.compile("[A-Z2-7]{32}")
HERE = f"{ROOT}/account"
API_KEY_CREATE = next(one for one in api_keys.PROCEDURES if one.name == "apiKey.create")
ORGANIZATIONS = f"{ROOT}/organizations"


async def show(
    page: Page, error: WharfError | None = None, created: CreatedApiKey | None = None
) -> Response:
    """Show name, password, second factor, sessions and keys; ``created`` is a new key."""
    user = await account.find_own(page.resources, page.caller)
    secret = page.form.get("secret", "")
    if not _SECRET.fullmatch(secret):
        secret = make_factor()
    keys = [key for key in await page.call("apiKey.all") if key["memberId"] == page.caller.actor_id]
    return page.render(
        "account/show.html",
        keys=keys,
        created=created,
        status=status_of(error).http if error else 200,
        error=error,
        user=user,
        sessions=await account.find_sessions(page.resources, page.caller),
        secret=secret,
        secret_url=factor_url(secret, user["email"]),
        min_characters=MIN_CHARACTERS,
    )


async def change_name(page: Page) -> Response:
    """Store another name."""
    name = page.form.get("name", "").strip()
    if not name or len(name) > MAX_NAME:
        return await show(page, InvalidInputError("the name is missing or too long"))
    await account.change_name(page.resources, page.caller, name)
    return page.redirect(HERE, "The name is changed.")


async def change_password(page: Page) -> Response:
    """Store another password."""
    new = page.form.get("new", "")
    try:
        require_length(new)
        await account.change_password(page.resources, page.caller, _password(page), SecretStr(new))
    except WharfError as error:
        return await show(page, error)
    return page.redirect(HERE, "The password is changed. All other sessions have ended.")


async def set_second_factor(page: Page) -> Response:
    """Require a code at each sign-in."""
    secret, code = page.form.get("secret", ""), page.form.get("code", "")
    try:
        await account.set_second_factor(page.resources, page.caller, _password(page), secret, code)
    except WharfError as error:
        return await show(page, error)
    return page.redirect(HERE, "A code is needed at each sign-in from now on.")


async def remove_second_factor(page: Page) -> Response:
    """Require no code any more."""
    try:
        code = page.form.get("code", "")
        await account.remove_second_factor(page.resources, page.caller, _password(page), code)
    except WharfError as error:
        return await show(page, error)
    return page.redirect(HERE, "The second factor is removed.")


async def create_key(page: Page) -> Response:
    """Create a personal API key, and show it once."""
    try:
        fields = {"name": page.form.get("name", "").strip(), "role": "admin"}
        request = cast("CreateApiKey", API_KEY_CREATE.parse(fields))
        await account.require_password(page.resources, page.caller, _password(page))
        created = await create_for(
            Context(page.resources, page.caller), request, page.caller.actor_id
        )
    except WharfError as error:
        return await show(page, error)
    return await show(page, created=created)


async def remove_key(page: Page) -> Response:
    """Remove a personal API key."""
    await account.remove_own_key(
        Context(page.resources, page.caller), page.form.get("api_key_id", "")
    )
    return page.redirect(HERE, "The key is removed.")


async def end_session(page: Page) -> Response:
    """End another session."""
    await account.end_other(page.resources, page.caller, page.form.get("session_id", ""))
    return page.redirect(HERE, "The session has ended.")


async def show_organizations(page: Page) -> Response:
    """List the organizations of the person."""
    found = await account.find_organizations(page.resources, page.caller)
    return page.render("organizations/all.html", organizations=found)


async def create_organization(page: Page) -> Response:
    """Create an organization, and switch to it."""
    name = page.form.get("name", "").strip()
    if not name or len(name) > MAX_NAME:
        raise InvalidInputError("the name is missing or too long", remedy="Enter a name.")
    created = await account.create_organization(page.resources, page.caller, name)
    await account.switch(page.resources, page.caller, created)
    return page.redirect(ROOT, "The organization is created.")


async def switch(page: Page) -> Response:
    """Continue in another organization."""
    await account.switch(page.resources, page.caller, page.form.get("organization_id", ""))
    return page.redirect(ROOT)


async def leave_organization(page: Page) -> Response:
    """Leave the present organization, and continue in another one if there is one."""
    others = [
        each["organization_id"]
        for each in await account.find_organizations(page.resources, page.caller)
        if each["organization_id"] != page.caller.organization_id
    ]
    await leave(Context(page.resources, page.caller))
    if others:
        await account.switch(page.resources, page.caller, others[0])
    return page.redirect(ROOT)


def _password(page: Page) -> SecretStr:
    return SecretStr(page.form.get("password", "")[:MAX_CHARACTERS])


ROUTES = (
    PageRoute("/account", show),
    PageRoute("/account/name", change_name, "POST"),
    PageRoute("/account/password", change_password, "POST"),
    PageRoute("/account/second-factor", set_second_factor, "POST"),
    PageRoute("/account/second-factor/remove", remove_second_factor, "POST"),
    PageRoute("/account/sessions/end", end_session, "POST"),
    PageRoute("/account/keys", create_key, "POST"),
    PageRoute("/account/keys/remove", remove_key, "POST"),
    PageRoute("/organizations", show_organizations, is_from_anywhere=True),
    PageRoute("/organizations", create_organization, "POST"),
    PageRoute("/organizations/switch", switch, "POST", is_from_anywhere=True),
    PageRoute("/organizations/leave", leave_organization, "POST"),
)
