"""Find a thing by its id, its name, or the unique beginning of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from api.cli.client import call
from api.cli.settings import ClientSettings
from shared.errors import SetupError

SHOWN_NAMES = 5
ID_LENGTH = 36
"""The length of a whole id, a UUID."""

MAX_DELIVERIES = 100
"""The largest number of deliveries that the API lists."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Noun:
    """A kind of thing: the procedure that lists it, its id, and its names, the best one first."""

    word: str
    plural: str
    all: str
    id: str
    names: tuple[str, ...] = ()
    create: str = ""

    def label(self, row: Mapping[str, Any]) -> str:
        """Return the best name of a thing; its id if it has no name."""
        return read(row, self.names[0]) if self.names else str(row[self.id])


def read(row: Mapping[str, Any], field: str) -> str:
    """Return a name of a thing; a dot leads into a part of it."""
    value: Any = row
    for part in field.split("."):
        value = value[part]
    return "" if value is None else str(value)


REGISTRY = Noun(
    *("registry", "registries", "registry.all", "registryId"),
    names=("registryName",),
    create="wharf registry create",
)
SERVER = Noun(
    *("server", "servers", "server.all", "serverId"),
    names=("name",),
    create="wharf server create",
)
APPLICATION = Noun(
    *("application", "applications", "application.all", "applicationId"),
    names=("appName", "name"),
    create="wharf app create",
)
WEBHOOK = Noun(
    *("webhook", "webhooks", "webhook.all", "webhookId"),
    names=("url",),
    create="wharf webhook create",
)
KEY = Noun(
    *("API key", "API keys", "apiKey.all", "apiKeyId"), names=("name",), create="wharf key create"
)
SIGNING_KEY = Noun(
    *("signing key", "signing keys", "signingKey.all", "signingKeyId"),
    names=("name",),
    create="wharf signing-key create",
)
USER = Noun("person", "people", "user.all", "userId", ("user.name", "user.email"))
MEMBER = replace(USER, id="id")
"""A person by the id of the membership, by which the audit log names who did something."""

INVITATION = Noun(
    *("invitation", "invitations", "organization.allInvitations", "invitationId"),
    names=("email",),
    create="wharf user invite",
)
BUILD = Noun("build", "builds", "build.all", "buildId")
DEPLOYMENT = Noun("deployment", "deployments", "deployment.allCentralized", "deploymentId")
POINT = Noun("rollback point", "rollback points", "rollback.all", "rollbackId")
HOOK = Noun("deploy hook", "deploy hooks", "deployHook.all", "hookId")
JOB = Noun("job", "jobs", "job.all", "jobId")
DELIVERY = Noun("delivery", "deliveries", "webhook.deliveries", "deliveryId")


def find(settings: ClientSettings, noun: Noun, name: str) -> Row:
    """Return the thing of the server that has this id or name, or the only one that begins so.

    Raises:
        SetupError: nothing or several things match, or the API refused.
    """
    return choose(noun, call(settings, noun.all), name)


def find_id(settings: ClientSettings, noun: Noun, name: str) -> str:
    """Return the id of a thing, see `find`."""
    return str(find(settings, noun, name)[noun.id])


def find_ids(settings: ClientSettings, noun: Noun, names: Sequence[str]) -> list[str]:
    """Return the ids of several things, asking once; empty names are left out."""
    given = [name for name in names if name]
    rows = call(settings, noun.all) if given else []
    return [str(choose(noun, rows, name)[noun.id]) for name in given]


def choose(noun: Noun, rows: Sequence[Row], name: str) -> Row:
    """Return the row with this id or name, or the only one that begins so.

    Raises:
        SetupError: nothing or several rows match; it names those that are meant or near.
    """
    if found := find_matches(noun, rows, name, exact=True):
        return _the_only(noun, found, f"{len(found)} {noun.plural} are named {name}")
    if found := find_matches(noun, rows, name, exact=False):
        return _the_only(noun, found, f"{len(found)} {noun.plural} begin with {name}")
    raise SetupError(f"there is no {noun.word} {name}", remedy=_near(noun, rows, name))


def find_among(
    settings: ClientSettings, nouns: Sequence[Noun], name: str
) -> tuple[Noun, Row] | None:
    """Return the only thing of these nouns with this id or name, or that begins so, if any.

    Raises:
        SetupError: several things match, or the API refused.
    """
    rows = {noun: call(settings, noun.all) for noun in nouns}
    for exact in (True, False):
        found = [
            (noun, row)
            for noun in nouns
            for row in find_matches(noun, rows[noun], name, exact=exact)
        ]
        if len(found) > 1:
            named = ", ".join(
                f"{noun.word} {noun.label(row)} ({row[noun.id]})" for noun, row in found
            )
            text = (
                f"{len(found)} things are named {name}"
                if exact
                else f"{len(found)} things begin with {name}"
            )
            raise SetupError(text, remedy=f"Use an id: {named}.")
        if found:
            return found[0]
    return None


def find_matches(noun: Noun, rows: Sequence[Row], name: str, *, exact: bool) -> list[Row]:
    """Return the rows with this id, or else with this name, or those with one that begins so."""
    fields = (noun.id, *noun.names)
    if exact:
        by_field = ([row for row in rows if read(row, field) == name] for field in fields)
        return next((found for found in by_field if found), [])
    if not name:
        return []
    return [row for row in rows if any(read(row, field).startswith(name) for field in fields)]


def find_job_id(settings: ClientSettings, name: str) -> str:
    """Return the id of a job; the beginning of an id is looked for among the newest jobs.

    Raises:
        SetupError: no job or several jobs begin so.
    """
    if len(name) >= ID_LENGTH:
        return name
    newest = call(settings, JOB.all, {"limit": 200})["jobs"]
    return str(choose(JOB, newest, name)[JOB.id])


def find_deployment_id(settings: ClientSettings, name: str) -> str:
    """Return the id of a deployment; the beginning of an id is looked for among the newest.

    Raises:
        SetupError: no deployment or several deployments begin so.
    """
    return name if len(name) >= ID_LENGTH else find_id(settings, DEPLOYMENT, name)


def find_delivery_id(settings: ClientSettings, webhook_id: str, name: str) -> str:
    """Return the id of a delivery of a webhook.

    Raises:
        SetupError: no delivery or several deliveries begin so.
    """
    if len(name) >= ID_LENGTH:
        return name
    rows = call(settings, DELIVERY.all, {"webhookId": webhook_id, "limit": MAX_DELIVERIES})
    return str(choose(DELIVERY, rows, name)[DELIVERY.id])


def find_build_id(settings: ClientSettings, name: str, application_id: str | None = None) -> str:
    """Return the id of a build of an application, or of any application.

    Raises:
        SetupError: no build or several builds begin so.
    """
    if len(name) >= ID_LENGTH:
        return name
    applications = (
        [application_id]
        if application_id
        else [each["applicationId"] for each in call(settings, APPLICATION.all)]
    )
    rows: list[Row] = []
    for each in applications:
        rows += call(settings, BUILD.all, {"applicationId": each})
    return str(choose(BUILD, rows, name)[BUILD.id])


def _the_only(noun: Noun, found: Sequence[Row], text: str) -> Row:
    if len(found) > 1:
        raise SetupError(text, remedy=f"Use one of: {_list_names(noun, found)}.")
    return found[0]


def _near(noun: Noun, rows: Sequence[Row], name: str) -> str:
    by_name = {read(row, field): row for row in rows for field in noun.names}
    near = [by_name[one] for one in get_close_matches(name, by_name)] or rows
    if near:
        return f"There is: {_list_names(noun, near)}."
    return f"Create one: {noun.create}." if noun.create else "There is none."


def _list_names(noun: Noun, rows: Sequence[Row]) -> str:
    labels = [noun.label(row) for row in rows]
    names = [
        label if labels.count(label) == 1 else f"{label} ({row[noun.id]})"
        for label, row in zip(labels, rows, strict=True)
    ]
    unique = list(dict.fromkeys(names))
    return ", ".join([*unique[:SHOWN_NAMES], *(["…"] if len(unique) > SHOWN_NAMES else [])])
