"""A group whose commands are imported when they are needed: most starts need one of them."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

PACKAGE = "api.cli.commands"

NOUNS = {
    "registry": "registries.login",
    "server": "servers.server",
    "app": "applications.settings",
    "image": "work.image",
    "sbom": "work.sbom",
    "compose": "work.compose",
    "job": "work.job",
    "builds": "applications.builds",
    "deployments": "applications.deployments",
    "rollbacks": "applications.rollbacks",
    "deploy-hook": "applications.deploy_hook",
    "webhook": "accounts.webhook",
    "key": "accounts.key",
    "signing-key": "accounts.signing_key",
    "policy": "accounts.policy",
    "user": "accounts.user",
    "audit": "accounts.audit",
    "organization": "accounts.organization",
}
"""Groups of commands by name, with the module that has them all."""

VERBS = {
    "build": "applications.build",
    "deploy": "applications.deploy",
    "rollback": "applications.deploy",
    "deploy-key": "applications.deploy_key",
    "host-key": "applications.deploy_key",
}
ACCESS = {
    "login": "accounts.login",
    "logout": "accounts.login",
    "whoami": "accounts.login",
    "open": "operation.open",
    "completion": "operation.completion",
}
OPERATION = {
    "doctor": "operation.doctor",
    "quota": "accounts.quota",
    "resume": "operation.restored",
    "backup": "operation.backup",
    "restore": "operation.backup",
    "vault": "operation.vault",
    "ca": "operation.ca",
}
ROLES = dict.fromkeys(
    ("up", "demo", "api", "control", "worker", "migrate", "secrets"), "operation.roles"
)

PANELS = {
    "Access": ACCESS,
    "Things": NOUNS,
    "Build, deploy, roll back": VERBS,
    "Operation": OPERATION,
    "Processes": ROLES,
}
GROUPS = {*NOUNS, "vault", "ca"}
MODULES = {name: module for panel in PANELS.values() for name, module in panel.items()}


class _Commands(MutableMapping[str, Any]):
    """The commands by name; each is imported when it is taken."""

    def __getitem__(self, name: str) -> Any:
        if name not in MODULES:
            raise KeyError(name)
        app: typer.Typer = import_module(f"{PACKAGE}.{MODULES[name]}").app
        group = get_group(app)
        command: Any = group if name in GROUPS else group.commands[name]
        command.name = name
        command.rich_help_panel = next(one for one, names in PANELS.items() if name in names)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)

    def __contains__(self, name: object) -> bool:
        return name in MODULES

    def __setitem__(self, name: str, command: Any) -> None:
        raise TypeError(f"{name}: commands stand in the tables of this module")

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name}: commands stand in the tables of this module")


class LazyGroup(TyperGroup):
    """The root of all commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": None})
        self.commands = _Commands()
