"""``wharf signing-key``: list, show, create, retire and remove keys that sign images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.arguments import SigningKey, given
from api.cli.client import call
from api.cli.command import command
from api.cli.confirm import Yes, confirm
from api.cli.names import SIGNING_KEY, find, find_id
from api.cli.output.answer import Answer, Columns, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings
from shared.errors import SetupError
from shared.signatures.keys import MAX_PEM_CHARACTERS

app = typer.Typer(
    help="Keys that sign images: list, show, create, retire, remove.", no_args_is_help=True
)


def _use_of(key: Mapping[str, Any]) -> str:
    if not key["canSign"]:
        return "checks"
    return "retired" if key["retiredAt"] else "signs"


COLUMNS = Columns(
    "signingKeyId",
    {
        "name": "name",
        "use": _use_of,
        "fingerprint": "fingerprint",
        "created": lambda row: show_time(row["createdAt"]),
    },
)

Output = Annotated[
    Path | None,
    typer.Option("--output", help="Write the public key to this new file, as PEM."),
]


@command(app, "list", example="wharf signing-key list", shows="signingKey.all")
def list_all(settings: ClientSettings) -> Answer:
    """Show all signing keys, the oldest first; keys of others only check signatures."""
    return COLUMNS.of(call(settings, "signingKey.all"))


@command(app, example="wharf signing-key show release --output cosign.pub", shows="signingKey.one")
def show(settings: ClientSettings, signing_key: SigningKey, output: Output = None) -> Answer:
    """Print the public key, which `cosign verify --key` reads, to standard output or a file."""
    chosen = find_id(settings, SIGNING_KEY, signing_key)
    return _show(call(settings, "signingKey.one", {"signingKeyId": chosen}), output)


@command(
    app,
    example="wharf signing-key create release --output cosign.pub",
    shows="signingKey.create",
)
def create(
    settings: ClientSettings,
    name: Annotated[str, typer.Argument(help="The key's name.")],
    *,
    public_key: Annotated[
        Path | None,
        typer.Option(help="The file of somebody else's public key: it only checks signatures."),
    ] = None,
    output: Output = None,
) -> Answer:
    """Create a key pair that signs images, and print its public key; or add a public key.

    The private key is sealed at once: nobody can read it.
    """
    text = _read(public_key) if public_key else None
    created = call(settings, "signingKey.create", {"name": name, **given(publicKey=text)})
    return _show(created, output)


@command(app, example="wharf signing-key retire release", shows="signingKey.retire")
def retire(settings: ClientSettings, signing_key: SigningKey) -> Answer:
    """Let a key sign no more. What it signed is still accepted."""
    chosen = find_id(settings, SIGNING_KEY, signing_key)
    retired = call(settings, "signingKey.retire", {"signingKeyId": chosen})
    return lines(retired, [chosen], [f"retired {retired['name']}"])


@command(app, example="wharf signing-key remove release --yes", shows="signingKey.remove")
def remove(settings: ClientSettings, signing_key: SigningKey, *, yes: Yes = False) -> Answer:
    """Remove a key that is in no policy. The private key is lost."""
    found = find(settings, SIGNING_KEY, signing_key)
    confirm(f"Remove the signing key {found['name']}?", yes=yes)
    removed = call(settings, "signingKey.remove", {"signingKeyId": found["signingKeyId"]})
    return lines(removed, [removed["signingKeyId"]], [f"removed {removed['name']}"])


def _show(key: dict[str, Any], output: Path | None) -> Answer:
    write_note(f"{key['name']} ({_use_of(key)}), {key['fingerprint']}, id {key['signingKeyId']}")
    if output is None:
        return lines(key, [key["signingKeyId"]], key["publicKey"].splitlines())
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(key["publicKey"])
    except OSError as error:
        raise SetupError(
            f"{output}: {error.strerror}", remedy="Name a new file in a directory that exists."
        ) from error
    return lines(key, [key["signingKeyId"]], [f"wrote {output}"])


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_PEM_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SetupError(
            f"{path}: {reason}", remedy="Name the file of a public key in PEM form."
        ) from error
