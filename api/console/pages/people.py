"""People of the organization, invitations, and its API keys."""

from typing import Any

from starlette.responses import Response

from api.console.page import ROOT, Page, PageRoute
from api.console.pages.names import name_applications
from api.http.status import status_of
from shared.errors import WharfError
from shared.models.accounts.organization import ROLES

PEOPLE = f"{ROOT}/people"
KEYS = f"{ROOT}/keys"
MAX_DIGITS = 6
APPLICATION = "application-"
"""A checkbox for each application has this prefix and its id."""

OFFERED = ROLES[::-1]


async def show(
    page: Page,
    error: WharfError | None = None,
    link: str | None = None,
    reset: str | None = None,
) -> Response:
    """List members and open invitations; ``link`` is a new invitation, ``reset`` a new password."""
    return page.render(
        "people/all.html",
        status=status_of(error).http if error else 200,
        error=error,
        link=link,
        reset=reset,
        members=await page.call("user.all"),
        invitations=await page.call("organization.allInvitations") if page.may("admin") else [],
        roles=OFFERED if page.may("owner") else OFFERED[:-1],
    )


async def invite(page: Page) -> Response:
    """Make an invitation, and show its link once."""
    fields: dict[str, Any] = {"role": page.form.get("role", "member")}
    if email := page.form.get("email", "").strip():
        fields["email"] = email
    try:
        created = await page.call("organization.inviteMember", **fields)
    except WharfError as error:
        return await show(page, error)
    return await show(page, link=f"{page.request.base_url}".rstrip("/") + created["path"])


async def remove_invitation(page: Page) -> Response:
    """Remove an invitation."""
    invitation_id = page.form.get("invitation_id", "")
    await page.call("organization.removeInvitation", invitationId=invitation_id)
    return page.redirect(PEOPLE, "The invitation is removed.")


async def change_role(page: Page) -> Response:
    """Change the role of a member."""
    fields = {"memberId": page.form.get("member_id", ""), "role": page.form.get("role", "")}
    await page.call("organization.updateMemberRole", **fields)
    return page.redirect(PEOPLE, "The role is changed.")


async def change_networks(page: Page) -> Response:
    """Limit a member to networks."""
    fields = {
        "memberId": page.form.get("member_id", ""),
        "networks": page.form.get("networks", "").split(),
        "force": "force" in page.form,
    }
    try:
        await page.call("organization.updateMemberNetworks", **fields)
    except WharfError as error:
        return await show(page, error)
    return page.redirect(PEOPLE, "The networks are changed.")


async def reset_password(page: Page) -> Response:
    """Make a link for a new password of a member, and show it once."""
    try:
        created = await page.call("user.createPasswordReset", userId=page.form.get("user_id", ""))
    except WharfError as error:
        return await show(page, error)
    return await show(page, reset=f"{page.request.base_url}".rstrip("/") + created["path"])


async def show_removal(page: Page) -> Response:
    """Ask before a member is removed."""
    members = {each["userId"]: each for each in await page.call("user.all")}
    return page.render("people/remove.html", member=members.get(page.query.get("user", "")))


async def remove(page: Page) -> Response:
    """Remove a member."""
    await page.call("user.remove", userId=page.form.get("user_id", ""))
    return page.redirect(PEOPLE, "The member is removed.")


async def show_keys(page: Page, error: WharfError | None = None, created: Any = None) -> Response:
    """List the API keys; ``created`` is a new one, whose secret is shown once."""
    return page.render(
        "keys/all.html",
        status=status_of(error).http if error else 200,
        error=error,
        created=created,
        keys=await page.call("apiKey.all"),
        applications=name_applications(await page.call("application.all")),
    )


async def create_key(page: Page) -> Response:
    """Create an API key, and show it once."""
    fields: dict[str, Any] = {
        "name": page.form.get("name", "").strip(),
        "role": page.form.get("role", "member"),
        "procedures": page.form.get("procedures", "").split(),
        "networks": page.form.get("networks", "").split(),
        "applicationIds": [
            name.removeprefix(APPLICATION) for name in page.form if name.startswith(APPLICATION)
        ],
    }
    if days := page.form.get("days", "").strip():
        is_number = days.isdecimal() and len(days) <= MAX_DIGITS
        fields["expiresInSeconds"] = int(days) * 86400 if is_number else days
    try:
        created = await page.call("apiKey.create", **fields)
    except WharfError as error:
        return await show_keys(page, error)
    return await show_keys(page, created=created)


async def remove_key(page: Page) -> Response:
    """Remove an API key."""
    await page.call("apiKey.remove", apiKeyId=page.form.get("api_key_id", ""))
    return page.redirect(KEYS, "The key is removed.")


async def show_audit(page: Page) -> Response:
    """List what was done; the filters stand in the address."""
    names = {"action": "action", "objectId": "object", "actorId": "actor", "cursor": "cursor"}
    fields = {name: page.query[key] for name, key in names.items() if page.query.get(key)}
    return page.render("audit/all.html", log=await page.call("auditLog.all", **fields))


ROUTES = (
    PageRoute("/people", show),
    PageRoute("/people/invite", invite, "POST"),
    PageRoute("/people/invitations/remove", remove_invitation, "POST"),
    PageRoute("/people/role", change_role, "POST"),
    PageRoute("/people/networks", change_networks, "POST"),
    PageRoute("/people/reset", reset_password, "POST"),
    PageRoute("/people/remove", show_removal),
    PageRoute("/people/remove", remove, "POST"),
    PageRoute("/keys", show_keys),
    PageRoute("/keys", create_key, "POST"),
    PageRoute("/keys/remove", remove_key, "POST"),
    PageRoute("/audit", show_audit),
)
