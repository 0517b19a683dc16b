"""Keys that sign images, signature policies, and what is proved about one image."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from api.console.guard import require_unchanged, write_seen
from api.console.page import ROOT, Page, PageRoute
from shared.errors import InvalidInputError, NotFoundError, WharfError

SIGNING = f"{ROOT}/signing"
MODES = (
    ("off", "Off: nothing has to be signed"),
    ("warn", "Warn: run it, and warn in the job"),
    ("enforce", "Enforce: refuse what is not signed"),
)
KEY = "key:"
"""A checkbox for each key has this prefix and its id."""

Rows = Sequence[Mapping[str, Any]]


async def show(page: Page) -> Response:
    """List the keys, and show the organization's policy."""
    return await _render_all(page)


async def create(page: Page) -> Response:
    """Make a key pair, or add a public key."""
    fields = {"name": page.form.get("name", "").strip()}
    if public_key := page.form.get("publicKey", "").strip():
        fields["publicKey"] = public_key
    try:
        created = await page.call("signingKey.create", **fields)
    except WharfError as error:
        return await _render_all(page, error)
    return page.redirect(SIGNING, f"The key {created['name']} is there.")


async def retire(page: Page) -> Response:
    """Let a key sign no more."""
    retired = await page.call("signingKey.retire", signingKeyId=page.param("key_id"))
    return page.redirect(SIGNING, f"The key {retired['name']} signs no more.")


async def confirm_removal(page: Page) -> Response:
    """Ask before a key is removed."""
    key = await page.call("signingKey.one", signingKeyId=page.param("key_id"))
    return page.render("signing/remove.html", key=key)


async def remove(page: Page) -> Response:
    """Remove a key."""
    try:
        removed = await page.call("signingKey.remove", signingKeyId=page.param("key_id"))
    except NotFoundError:
        raise
    except WharfError as error:
        return await _render_all(page, error)
    return page.redirect(SIGNING, f"The key {removed['name']} is removed.")


async def change_policy(page: Page) -> Response:
    """Change the organization's policy."""
    if fault := await _change(page, {}):
        return await _render_all(page, policy_fault=fault)
    return page.redirect(SIGNING, "The policy is changed. The next deployment uses it.")


async def show_own(page: Page) -> Response:
    """Show the policy that holds for an application."""
    return await _render_own(page)


async def change_own(page: Page) -> Response:
    """Give an application a policy of its own."""
    if fault := await _change(page, _chosen(page)):
        return await _render_own(page, fault)
    return page.redirect(_own_path(page), "The policy is changed. The next deployment uses it.")


async def inherit(page: Page) -> Response:
    """Give an application the organization's policy again."""
    await page.call("signaturePolicy.set", **_chosen(page), inherit=True)
    return page.redirect(_own_path(page), "The application has the organization's policy.")


async def verify(page: Page) -> Response:
    """Compare the signatures beside ``image`` with a policy; a server asks the registry."""
    asked = {
        name: value
        for name in ("image", "registryId", "applicationId", "signingKeyId")
        if (value := page.query.get(name, "").strip())
    }
    keys = await page.call("signingKey.all")
    found, fault = None, None
    if "image" in asked:
        try:
            found = await page.call("signature.verify", **asked)
        except WharfError as error:
            fault = error
    return page.render(
        "signing/verify.html",
        fault=fault,
        found=found,
        asked=asked,
        names=_names(keys),
        signers=[key for key in keys if key["canSign"] and not key["retiredAt"]],
        choices=[("", "the policy"), *((key["signingKeyId"], key["name"]) for key in keys)],
    )


async def sign(page: Page) -> Response:
    """Sign an image, and show what is proved then."""
    asked = {"image": page.form.get("image", ""), "registryId": page.form.get("registryId", "")}
    key_id = page.form.get("signingKeyId", "")
    signed = await page.call("signature.sign", **asked, signingKeyId=key_id)
    address = urlencode({**asked, "image": signed["reference"], "signingKeyId": key_id})
    return page.redirect(f"{SIGNING}/verify?{address}", "The image is signed.")


async def _render_all(
    page: Page, error: WharfError | None = None, policy_fault: WharfError | None = None
) -> Response:
    keys = await page.call("signingKey.all")
    policy = await page.call("signaturePolicy.one")
    return page.render(
        "signing/all.html",
        error=error,
        fault=policy_fault,
        keys=keys,
        typed=page.form if error else {},
        **_form(page, keys, policy, policy_fault),
    )


async def _render_own(page: Page, fault: WharfError | None = None) -> Response:
    application = await page.call("application.one", **_chosen(page))
    keys = await page.call("signingKey.all")
    policy = await page.call("signaturePolicy.one", **_chosen(page))
    return page.render(
        "signing/policy.html",
        fault=fault,
        application=application,
        keys=keys,
        **_form(page, keys, policy, fault),
    )


def _form(
    page: Page, keys: Rows, policy: Mapping[str, Any], fault: WharfError | None
) -> dict[str, Any]:
    stored = _fill(policy, _names(keys))
    return {
        "policy": policy,
        "values": page.form if fault else stored,
        "seen": write_seen(stored),
        "modes": MODES,
        "field": KEY,
    }


async def _change(page: Page, chosen: Mapping[str, Any]) -> WharfError | None:
    """Set a policy as the form has it; return the error, if it is refused."""
    names = _names(await page.call("signingKey.all"))
    policy = await page.call("signaturePolicy.one", **chosen)
    try:
        require_unchanged(page.form, _fill(policy, names))
        await page.call("signaturePolicy.set", **chosen, **_read(page.form, names))
    except NotFoundError:
        raise
    except WharfError as error:
        return error
    return None


def _fill(policy: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return a policy as the fields of the form."""
    publishers = [
        f"{one['prefix']} = {names.get(key_id, key_id)}"
        for one in policy["publishers"]
        for key_id in one["signingKeyIds"]
    ]
    return {
        "mode": policy["mode"],
        "predicateTypes": "\n".join(policy["predicateTypes"]),
        "baseRegistries": "\n".join(policy["baseRegistries"]),
        "publishers": "\n".join(publishers),
        **{f"{KEY}{key_id}": "true" for key_id in policy["signingKeyIds"]},
    }


def _read(form: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "mode": form.get("mode", "off"),
        "signingKeyIds": sorted(name.removeprefix(KEY) for name in form if name.startswith(KEY)),
        "predicateTypes": _lines(form, "predicateTypes"),
        "baseRegistries": _lines(form, "baseRegistries"),
        "publishers": _read_publishers(_lines(form, "publishers"), names),
    }


def _read_publishers(lines: Sequence[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Read lines of the form ``PREFIX = KEY``, with the key's name or id.

    Raises:
        InvalidInputError: one has another form, or names no key.
    """
    ids = {name.lower(): key_id for key_id, name in names.items()} | {one: one for one in names}
    found: dict[str, list[str]] = {}
    for line in lines:
        prefix, _, name = (part.strip() for part in line.partition("="))
        key_id = ids.get(name) or ids.get(name.lower())
        if key_id is None:
            raise InvalidInputError(
                f"publishers: {line[:100]} names no key",
                remedy="Write one line for each: docker.io/library = the name of a key.",
            )
        found.setdefault(prefix, []).append(key_id)
    return [{"prefix": prefix, "signingKeyIds": keys} for prefix, keys in found.items()]


def _lines(form: Mapping[str, str], name: str) -> list[str]:
    return [line.strip() for line in form.get(name, "").splitlines() if line.strip()]


def _names(keys: Rows) -> dict[str, str]:
    return {key["signingKeyId"]: key["name"] for key in keys}


def _chosen(page: Page) -> dict[str, str]:
    return {"applicationId": page.param("application_id")}


def _own_path(page: Page) -> str:
    return f"{ROOT}/applications/{page.param('application_id')}/signing"


ROUTES = (
    PageRoute("/signing", show),
    PageRoute("/signing", create, "POST"),
    PageRoute("/signing/policy", change_policy, "POST"),
    PageRoute("/signing/verify", verify),
    PageRoute("/signing/sign", sign, "POST"),
    PageRoute("/signing/{key_id}/retire", retire, "POST"),
    PageRoute("/signing/{key_id}/remove", confirm_removal),
    PageRoute("/signing/{key_id}/remove", remove, "POST"),
    PageRoute("/applications/{application_id}/signing", show_own),
    PageRoute("/applications/{application_id}/signing", change_own, "POST"),
    PageRoute("/applications/{application_id}/signing/inherit", inherit, "POST"),
)
