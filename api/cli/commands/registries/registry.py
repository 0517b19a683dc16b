"""``wharf registry``: list, show, create, change, test and remove registries."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.arguments import OnServer, Registry, given
from api.cli.client import call
from api.cli.command import Shown, command
from api.cli.completion import names_of
from api.cli.confirm import Yes, confirm
from api.cli.names import APPLICATION, REGISTRY, SERVER, find, find_id, find_ids
from api.cli.output.answer import Answer, Columns, as_text, lines
from api.cli.output.text import write_note
from api.cli.secret_input import PasswordFile, PasswordStdin, read_secret, read_text_file
from api.cli.settings import ClientSettings
from shared.errors import SetupError

app = typer.Typer(
    help="Registries: list, show, create, change, test and remove them, rotate their logins.",
    no_args_is_help=True,
)

Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-server",
        help="A server that may get the login; empty allows all.",
        autocompletion=names_of(SERVER),
    ),
]
Applications = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-application",
        help="An application that may use it; empty allows all.",
        autocompletion=names_of(APPLICATION),
    ),
]
Days = Annotated[
    int | None,
    typer.Option(min=0, max=3650, help="Days until the password is due; 0: the default."),
]
CredentialFile = Annotated[
    Path | None,
    typer.Option(
        help="A JSON file with the credential of a cloud provider, instead of a password."
    ),
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="The certificate of the registry's CA, as PEM.")
]
ClientCertificate = Annotated[
    Path | None, typer.Option("--client-certificate-file", help="A client certificate, as PEM.")
]
ClientKey = Annotated[
    Path | None, typer.Option("--client-key-file", help="The key of that certificate, as PEM.")
]
PlainHttp = Annotated[
    bool | None, typer.Option(help="Allow HTTP without TLS, which others can read.")
]
InstallCa = Annotated[bool | None, typer.Option(help="Install the CA on servers for the Engine.")]

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


@command(
    app,
    example="wharf registry create Production registry.example.com --username builder "
    "--password-file password.txt",
    shows="registry.create",
)
def create(
    settings: ClientSettings,
    name: Annotated[str, typer.Argument(help="The registry's name.")],
    url: Annotated[str, typer.Argument(help="Its host, with a port if need be.")],
    *,
    username: Annotated[str | None, typer.Option(help="The username.")] = None,
    prefix: Annotated[str | None, typer.Option(help="The image prefix.")] = None,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    credential_file: CredentialFile = None,
    ca_file: CaFile = None,
    client_certificate_file: ClientCertificate = None,
    client_key_file: ClientKey = None,
    plain_http: PlainHttp = None,
    install_ca: InstallCa = None,
    allow_server: Servers = None,
    allow_application: Applications = None,
    rotate_after_days: Days = None,
) -> Answer:
    """Store a registry without testing it; see wharf registry test.

    The password is read from a file or from standard input; on a terminal it is asked for.
    """
    request = {
        "registryName": name,
        "registryUrl": url,
        **given(username=username, imagePrefix=prefix, rotateAfterDays=rotate_after_days or None),
        **_limits(settings, allow_server, allow_application),
        **_tls(ca_file, client_certificate_file, client_key_file, plain_http, install_ca),
    }
    if credential_file is not None:
        request["credential"] = _read_credential(credential_file)
    elif username is None:
        raise SetupError(
            "there is no username",
            remedy="Give --username, or --credential-file for a cloud provider.",
        )
    else:
        password = read_secret("password", password_file, stdin=password_stdin)
        if password is None:
            raise SetupError(
                "there is no password",
                remedy="Give --password-file or --password-stdin, or use a terminal.",
            )
        request["password"] = password
    created = call(settings, "registry.create", request)
    registry_id = created["registryId"]
    return lines(created, [registry_id], [f"created {created['registryName']}: {registry_id}"])


@command(
    app,
    example="wharf registry update Production --prefix team",
    shows="registry.update",
)
def update(
    settings: ClientSettings,
    registry: Registry,
    *,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    url: Annotated[str | None, typer.Option(help="The new URL; needs the password.")] = None,
    username: Annotated[str | None, typer.Option(help="The new one; needs the password.")] = None,
    prefix: Annotated[str | None, typer.Option(help="The image prefix; empty removes it.")] = None,
    allow_server: Servers = None,
    allow_application: Applications = None,
    rotate_after_days: Days = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a new password, or read standard input.")
    ] = False,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    credential_file: CredentialFile = None,
    ca_file: CaFile = None,
    client_certificate_file: ClientCertificate = None,
    client_key_file: ClientKey = None,
    plain_http: PlainHttp = None,
    install_ca: InstallCa = None,
    force: Annotated[
        bool, typer.Option("--force", help="Change it although that breaks what uses it.")
    ] = False,
) -> Answer:
    """Change a registry; a new password is not tested, see wharf registry rotate.

    A change that breaks what uses the registry, as another host, is refused: the error names the
    uses.
    """
    chosen = {"registryId": find_id(settings, REGISTRY, registry)}
    changes = {
        **given(registryName=name, registryUrl=url, username=username, imagePrefix=prefix),
        **_limits(settings, allow_server, allow_application),
        **_tls(ca_file, client_certificate_file, client_key_file, plain_http, install_ca),
    }
    if prefix == "":
        changes["imagePrefix"] = None
    if rotate_after_days is not None:
        changes["rotateAfterDays"] = rotate_after_days or None
    if password or password_file is not None or password_stdin:
        changes["password"] = read_new_password(password_file, stdin=password_stdin)
    if credential_file is not None:
        changes["credential"] = _read_credential(credential_file)
    if force:
        _write_uses(settings, chosen)
    changed = call(settings, "registry.update", {**chosen, **changes, "force": force})
    return lines(changed, [chosen["registryId"]], ["changed"])


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
        _write_uses(settings, chosen)
    confirm(f"Remove the registry {found['registryName']}?", yes=yes)
    removed = call(settings, "registry.remove", {**chosen, "force": force})
    return lines(removed, [removed["registryId"]], [f"removed {removed['registryName']}"])


@command(app, "test", example="wharf registry test Production", shows="registry.diagnose")
def run_test(settings: ClientSettings, registry: Registry, server: OnServer = None) -> Answer:
    """Test a registry from a server, and show every stage, and what its login may do beyond need.

    Exit code 1: a stage failed.
    """
    chosen = find_id(settings, REGISTRY, registry)
    server_id = find_id(settings, SERVER, server) if server else None
    report = call(settings, "registry.diagnose", given(registryId=chosen, serverId=server_id))
    texts = []
    for stage in report["stages"]:
        words = (stage["outcome"], stage["code"], stage["evidence"], stage["remedy"])
        texts.append(f"{stage['stage']}: {': '.join(word for word in words if word)}")
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


def read_new_password(file: Path | None, *, stdin: bool) -> str:
    """Return a new password; standard input is read if there is no terminal.

    Raises:
        SetupError: it is empty, or cannot be read.
    """
    found = read_secret("new password", file, stdin=stdin)
    return found or str(read_secret("new password", None, stdin=True))


def _limits(
    settings: ClientSettings, servers: list[str] | None, applications: list[str] | None
) -> dict[str, list[str]]:
    found = {}
    if servers is not None:
        found["allowedServers"] = find_ids(settings, SERVER, servers)
    if applications is not None:
        found["allowedApplications"] = find_ids(settings, APPLICATION, applications)
    return found


def _tls(
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    plain_http: bool | None,  # noqa: FBT001 - as the option has it
    install_ca: bool | None,  # noqa: FBT001
) -> dict[str, Any]:
    files = given(caCertificate=ca, clientCertificate=certificate, clientKey=key)
    texts = {name: read_text_file(path) for name, path in files.items()}
    return {**texts, **given(plainHttp=plain_http, installCa=install_ca)}


def _read_credential(path: Path) -> Any:
    try:
        return json.loads(read_text_file(path))
    except json.JSONDecodeError:
        # Without its cause, which contains the text.
        raise SetupError(f"{path} is not JSON") from None


def _excess_lines(excess: list[dict[str, str]] | None) -> list[str]:
    """Return what a login may do beyond need; nothing if no test has seen it."""
    if excess is None:
        return []
    found = "; ".join(f"{one['code']}: {one['message']}" for one in excess)
    return [f"beyond need: {found or 'nothing known'}"]


def _write_uses(settings: ClientSettings, chosen: dict[str, str]) -> None:
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
