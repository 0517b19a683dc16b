"""Each place of the database with secrets that are sealed to the vault, and their contexts.

A column that is missing here would not be sealed to a new key. So a test compares this list with
the constraints and the rows of the database.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from psycopg import sql

from shared.credentials.kinds import source_context
from shared.jobs.accesses import accesses
from shared.jobs.commands import (
    Command,
    ImageBuild,
    Replace,
    SignatureSign,
    parse_command,
)
from shared.jobs.sources import GitSource
from shared.ssh.address import SshAddress
from shared.vault import SealContext
from shared.webhooks import seal_context

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """One kind of secret: where it stands, and the context that opens it.

    ``source`` has the rows (of ``target``, and what the context needs), ``key`` identifies one,
    ``value`` is the sealed text, and ``change`` the new value of ``column``; it is made of the
    column's former value and ``new.sealed``. The names stand in SQL: none comes from outside.
    """

    name: str
    target: str
    key: str
    column: str
    context: Callable[[Row], SealContext]
    fields: str
    source: str = ""
    value: str = ""
    change: str = "fresh.sealed"
    condition: str = "true"

    @property
    def sealed(self) -> str:
        return self.value or f"target.{self.column}"

    def select(self, condition: str, *, columns: str, tail: str = "") -> sql.SQL:
        """Return a query of its rows."""
        text = (
            f"SELECT {columns} FROM {self.target} target {self.source}"  # noqa: S608 - constants
            f" WHERE {self.condition} AND {self.sealed} IS NOT NULL AND {condition} {tail}"
        )
        return sql.SQL(cast("Any", text))

    def update(self) -> sql.SQL:
        """Return the conditional update of many: what was changed meanwhile is left as it is."""
        text = (
            f"UPDATE {self.target} target SET {self.column} = {self.change}"  # noqa: S608 - constants
            " FROM unnest(%(ids)s::text[], %(old)s::text[], %(new)s::text[])"
            " AS fresh (id, old, sealed)"
            f" WHERE target.{self.key} = fresh.id AND {self.sealed} = fresh.old"
            f" AND {self.condition}"
        )
        return sql.SQL(cast("Any", text))


def _credential(row: Row) -> SealContext:
    return SealContext(
        "credential", row["organization_id"], row["registry_id"], row["host"], row["username"]
    )


def _client_key(row: Row) -> SealContext:
    return SealContext("client_key", row["organization_id"], row["registry_id"], row["host"], "")


def _source(row: Row) -> SealContext:
    return source_context(row["organization_id"], row["registry_id"], row["host"])


def _webhook(row: Row) -> SealContext:
    return seal_context(row["organization_id"], row["webhook_id"], row["url"])


def _signing_key(row: Row) -> SealContext:
    return SealContext("signing_key", row["organization_id"], row["signing_key_id"], "", "")


def _signing_key_of_job(row: Row) -> SealContext:
    match _command(row):
        case SignatureSign(signing_key_id=signing_key_id):
            return SealContext("signing_key", row["organization_id"], signing_key_id, "", "")
        case _:
            raise ValueError("not a signature")


def _audit_key(row: Row) -> SealContext:
    return SealContext("audit_key", "", row["key_id"], "", "")


def _of_application(purpose: str) -> Callable[[Row], SealContext]:
    def context(row: Row) -> SealContext:
        return SealContext(purpose, row["organization_id"], row["application_id"], "", "")

    return context


def _git_token(row: Row) -> SealContext:
    return SealContext(
        "git_token",
        row["organization_id"],
        row["application_id"],
        row["git_host"],
        row["git_username"],
    )


def _git_ssh_key(row: Row) -> SealContext:
    url = SshAddress.parse(row["git_url"])
    return SealContext(
        "git_ssh_key", row["organization_id"], row["application_id"], url.host, url.user
    )


def _command(row: Row) -> Command:
    return parse_command(row["kind"], row["command"])


def _of_test(purpose: str) -> Callable[[Row], SealContext]:
    """Return the context of what was given with a single job for a registry's host."""

    def context(row: Row) -> SealContext:
        command = _command(row)
        [host] = {each.host for each in accesses(command) if each.registry_id is None}
        username = str(row["command"].get("username", "")) if purpose == "password" else ""
        return SealContext(purpose, row["organization_id"], row["job_id"], host, username)

    return context


def _of_build(purpose: str) -> Callable[[Row], SealContext]:
    """Return the context of the token or deploy key of a build's repository."""

    def context(row: Row) -> SealContext:
        match _command(row):
            case ImageBuild(application_id=application_id, source=GitSource() as source):
                return SealContext(
                    purpose, row["organization_id"], application_id, source.host, source.username
                )
            case _:
                raise ValueError("not a build from a repository")

    return context


def _of_variables(purpose: str) -> Callable[[Row], SealContext]:
    def context(row: Row) -> SealContext:
        match _command(row):
            case ImageBuild(application_id=application_id) | Replace(application_id=application_id):
                return SealContext(purpose, row["organization_id"], application_id, "", "")
            case _:
                raise ValueError("no job of an application")

    return context


_REGISTRY = "target.organization_id, target.registry_id, target.host, target.username"
_OF_REGISTRY = "JOIN registry r USING (registry_id)"
_SLOT = "target.organization_id, target.registry_id, r.host, target.slot->>'username' AS username"
_APPLICATION = (
    "target.organization_id, target.application_id, target.git_host, target.git_username,"
    " target.git_url"
)
_OF_JOB: dict[str, Callable[[Row], SealContext]] = {
    "password": _of_test("password"),
    "client_key": _of_test("client_key"),
    "credential_source": _of_test("credential_source"),
    "git_token": _of_build("git_token"),
    "git_ssh_key": _of_build("git_ssh_key"),
    "build_secrets": _of_variables("build_secrets"),
    "environment": _of_variables("environment"),
    "signing_key": _signing_key_of_job,
}
"""The purposes of ``job_secret``; a ``login`` is sealed to a server, not to the vault."""

PLACES = (
    Place("registry.password", "registry", "registry_id", "password", _credential, _REGISTRY),
    Place("registry.client_key", "registry", "registry_id", "client_key", _client_key, _REGISTRY),
    Place(
        "credential_source.sealed",
        "credential_source",
        "registry_id",
        "sealed",
        _source,
        "target.organization_id, target.registry_id, r.host",
        _OF_REGISTRY,
    ),
    Place(
        "rotation.slot.password",
        "rotation",
        "rotation_id",
        "slot",
        _credential,
        _SLOT,
        _OF_REGISTRY,
        "target.slot->>'password'",
        "jsonb_set(target.slot, '{password}', to_jsonb(fresh.sealed))",
    ),
    Place(
        "rotation.slot.source",
        "rotation",
        "rotation_id",
        "slot",
        _source,
        _SLOT,
        _OF_REGISTRY,
        "target.slot->'source'->>'sealed'",
        "jsonb_set(target.slot, '{source,sealed}', to_jsonb(fresh.sealed))",
    ),
    Place(
        "webhook.secret",
        "webhook",
        "webhook_id",
        "secret",
        _webhook,
        "target.organization_id, target.webhook_id, target.url",
    ),
    Place(
        "signing_key.private_key",
        "signing_key",
        "signing_key_id",
        "private_key",
        _signing_key,
        "target.organization_id, target.signing_key_id",
    ),
    Place("audit_key.sealed", "audit_key", "key_id", "sealed", _audit_key, "target.key_id"),
    *(
        Place(
            f"application.{column}", "application", "application_id", column, context, _APPLICATION
        )
        for column, context in (
            ("env", _of_application("environment")),
            ("build_secrets", _of_application("build_secrets")),
            ("git_token", _git_token),
            ("git_ssh_key", _git_ssh_key),
        )
    ),
    *(
        Place(
            f"job_secret.{purpose}",
            "job_secret",
            "job_id",
            "sealed",
            context,
            "j.organization_id, target.job_id, j.kind, j.command",
            "JOIN job j USING (job_id)",
            condition=f"target.purpose = '{purpose}' AND target.attempt = 0",
        )
        for purpose, context in _OF_JOB.items()
    ),
)
"""All places."""
