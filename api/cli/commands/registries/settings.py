"""``wharf registry create`` and ``update``: what a registry and its login are made of."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.arguments import Registry, given
from api.cli.client import call
from api.cli.command import command
from api.cli.commands.registries.registry import app, write_uses
from api.cli.completion import names_of
from api.cli.names import APPLICATION, REGISTRY, SERVER, find_id, find_ids
from api.cli.output.answer import Answer, lines
from api.cli.secret_input import PasswordFile, PasswordStdin, read_secret, read_text_file
from api.cli.settings import ClientSettings
from shared.errors import SetupError

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
        write_uses(settings, chosen)
    changed = call(settings, "registry.update", {**chosen, **changes, "force": force})
    return lines(changed, [chosen["registryId"]], ["changed"])


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
