"""``wharf registry``: list, show, create, change, test and remove registries."""

from typing import Annotated, Any

import typer

from api.cli.arguments import OnServer, Registry, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.confirm import Yes, confirm
from api.cli.follow.registry_tests import follow_test
from api.cli.names import REGISTRY, SERVER, find, find_id
from api.cli.output.answer import Answer, Columns, as_text, lines
from api.cli.output.screen import stage_text
from api.cli.output.text import write_note
from api.cli.settings import ClientSettings

app = typer.Typer(
    help="Registries: list, show, create, change, test and remove them, rotate their logins.",
    no_args_is_help=True,
)

COLUMNS = Columns(
    "registryId",
    {
        "name": "registryName",
        "URL": lambda row: row["registryUrl"] or "docker.io",
        "username": "username",
        "prefix": "imagePrefix",
        "login": lambda row: (row["login"] or {}).get("state"),
        "due": lambda row: row["passwordDueAt"][:10],
    },
)
CELLS = Columns(
    "jobId",
    {
        "registry": "registryName",
        "server": "serverName",
        "state": "state",
        "code": "code",
        "stage": "stage",
        "checked": "checkedAt",
    },
)


@command(app, "list", example="wharf registry list", shows="registry.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all registries, the oldest first."""
    return COLUMNS.of(call(settings, "registry.all"))


@command(app, example="wharf registry show Production", shows="registry.one")
def show(settings: ClientSettings, registry: Registry) -> Answer:
    """Show the life of a registry's login: its dates, last use, refusals, rights and users."""
    chosen = find_id(settings, REGISTRY, registry)
    shown = call(settings, "registry.one", {"registryId": chosen})
    login = shown["login"]
    used = shown["usedBy"] or {"applications": [], "rollbackPoints": 0, "deployHooks": 0}
    found = {
        "registry": f"{shown['registryName']} ({shown['registryUrl'] or 'docker.io'})",
        "username": shown["username"],
        "login": login["state"],
        "created": shown["createdAt"],
        "changed": shown["passwordChangedAt"],
        "due": shown["passwordDueAt"],
        "expires": shown["passwordExpiresAt"],
        "last accepted": login["lastAcceptedAt"],
        "last used": login["lastUsedAt"],
        "last used by": _last_user(login),
        **_use_lines(used),
    }
    texts = [f"{name}: {as_text(value)}" for name, value in found.items()]
    for refusal in login["refusals"]:
        where = f"server {refusal['serverId']}" if refusal["serverId"] else "wharf control"
        texts.append(f"refused from {where} since {refusal['since']}: {refusal['code']}")
    return lines(shown, [chosen], [*texts, *_excess_lines(shown.get("excess"))])


@command(app, example="wharf registry remove Staging --yes", shows="registry.remove")
def remove(
    settings: ClientSettings,
    registry: Registry,
    *,
    force: Annotated[bool, typer.Option("--force", help="Remove it although it is used.")] = False,
    yes: Yes = False,
) -> Answer:
    """Remove a registry and its login; one that is used is kept, and the error names the uses.

    With --force, applications no longer name it.
    """
    found = find(settings, REGISTRY, registry)
    chosen = {"registryId": found["registryId"]}
    if force:
        write_uses(settings, chosen)
    confirm(f"Remove the registry {found['registryName']}?", yes=yes)
    removed = call(settings, "registry.remove", {**chosen, "force": force})
    return lines(removed, [removed["registryId"]], [f"removed {removed['registryName']}"])


@command(app, "test", example="wharf registry test Production", shows="registry.diagnose")
def run_test(
    settings: ClientSettings,
    registry: Registry,
    server: OnServer = None,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Write each stage as soon as it has ended.")
    ] = False,
) -> Answer:
    """Test a registry from a server, and show every stage, and what its login may do beyond need.

    With --wait the stages of a slow test appear one after the other on standard error. Exit code 1:
    a stage failed.
    """
    chosen = find_id(settings, REGISTRY, registry)
    server_id = find_id(settings, SERVER, server) if server else None
    request = given(registryId=chosen, serverId=server_id)
    report = (
        follow_test(settings, request) if wait else call(settings, "registry.diagnose", request)
    )
    texts = [stage_text(stage) for stage in report["stages"]]
    failed = any(stage["outcome"] == "failed" for stage in report["stages"])
    return lines(
        report, [chosen], [*texts, *_excess_lines(report["excess"])], code=1 if failed else 0
    )


@command(
    app,
    example="wharf registry matrix --test",
    shows=Shown("registry.matrix", instead="registry.testOnServers", option="--test"),
)
def matrix(
    settings: ClientSettings,
    registry: Annotated[
        str | None,
        typer.Option(help="Only this registry.", autocompletion=names_of(REGISTRY)),
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Only this server.", autocompletion=names_of(SERVER))
    ] = None,
    *,
    test: Annotated[bool, typer.Option("--test", help="Test all of them first.")] = False,
) -> Answer:
    """Show which server can log in to which registry, by the newest test of each pair.

    With --test the exit code is 1 if a test failed.
    """
    registry_id = find_id(settings, REGISTRY, registry) if registry else None
    server_id = find_id(settings, SERVER, server) if server else None
    if test:
        registries = [registry_id] if registry_id else None
        servers = [server_id] if server_id else None
        request = given(registryIds=registries, serverIds=servers)
        found = call(settings, "registry.testOnServers", request)
    else:
        found = call(settings, "registry.matrix", given(registryId=registry_id, serverId=server_id))
    answer = CELLS.of(found["cells"], answer=found)
    failed = test and any(cell["state"] == "failed" for cell in found["cells"])
    return Answer(answer.value, answer.ids, answer.show, 1 if failed else 0)


def _excess_lines(excess: list[dict[str, str]] | None) -> list[str]:
    """Return what a login may do beyond need; nothing if no test has seen it."""
    if excess is None:
        return []
    found = "; ".join(f"{one['code']}: {one['message']}" for one in excess)
    return [f"beyond need: {found or 'nothing known'}"]


def write_uses(settings: ClientSettings, chosen: dict[str, str]) -> None:
    """Write what uses a registry to standard error, before a change is forced."""
    used = call(settings, "registry.one", chosen)["usedBy"]
    for line in _use_lines(used).items() if used else ():
        write_note("used by {}: {}".format(*line))


def _use_lines(used: dict[str, Any]) -> dict[str, Any]:
    named = [f"{one['name']} ({', '.join(one['uses'])})" for one in used["applications"]]
    return {
        "applications": ", ".join(named),
        "rollback points": used["rollbackPoints"],
        "deploy hooks": used["deployHooks"],
    }


def _last_user(login: dict[str, Any]) -> str | None:
    if login["lastUsedJobId"] is None:
        return None
    return f"job {login['lastUsedJobId']}, server {login['lastUsedServerId'] or 'wharf control'}"
