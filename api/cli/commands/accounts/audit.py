"""``wharf audit``: what was done in the organization and by whom; export and verify the log."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from api.cli.arguments import given
from api.cli.client import call
from api.cli.command import command
from api.cli.commands.accounts.audit_files import FileFormat, lines_of_page, read_file, write_file
from api.cli.completion import names_among
from api.cli.names import (
    APPLICATION,
    ID_LENGTH,
    KEY,
    MEMBER,
    REGISTRY,
    SERVER,
    USER,
    WEBHOOK,
    Noun,
    find_among,
)
from api.cli.output.answer import Answer, Columns, lines
from api.cli.output.text import write_note
from api.cli.output.units import show_time
from api.cli.settings import ClientSettings
from shared.audit.checkpoints import VerifyingKey
from shared.audit.lines import Line
from shared.audit.verification import Verification
from shared.errors import SetupError

app = typer.Typer(help="The audit log: list, export, verify.", no_args_is_help=True)

OBJECTS = (APPLICATION, REGISTRY, SERVER, WEBHOOK, KEY, USER)
ACTORS = (KEY, MEMBER)
HASH_DIGITS = 64

COLUMNS = Columns(
    "auditEventId",
    {
        "at": lambda row: show_time(row["at"]),
        "action": "action",
        "of": "objectId",
        "by": lambda row: row["actor"] or row["actorId"],
        "data": "data",
    },
)


@app.callback()
def group() -> None:
    """List what was done in the organization and by whom, export it, and verify it."""


@command(app, "list", example="wharf audit list --action registry.update", shows="auditLog.all")
def list_all(
    settings: ClientSettings,
    *,
    action: Annotated[
        str | None, typer.Option(help="Only this action, for example registry.update.")
    ] = None,
    thing: Annotated[
        str | None,
        typer.Option(
            "--of",
            help="Only what was done to this thing, by its name or id.",
            autocompletion=names_among(OBJECTS),
        ),
    ] = None,
    actor: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="Only what this person or API key did, by name or id.",
            autocompletion=names_among(ACTORS),
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=200, help="The largest number of rows.")
    ] = 50,
    cursor: Annotated[str | None, typer.Option(help="The nextCursor of the page before.")] = None,
) -> Answer:
    """Show what was done in the organization, by page, the newest first."""
    request = given(
        action=action,
        objectId=thing and _find_id(settings, OBJECTS, thing),
        actorId=actor and _find_id(settings, ACTORS, actor),
        limit=limit,
        cursor=cursor,
    )
    page = call(settings, "auditLog.all", request)
    if page["nextCursor"]:
        write_note(f"there are more: --cursor {page['nextCursor']}")
    return COLUMNS.of(page["entries"], answer=page)


@command(app, "export", example="wharf audit export audit.jsonl")
def export(
    settings: ClientSettings,
    *,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    form: Annotated[
        FileFormat, typer.Option("--format", help="JSON lines, or CSV for a spreadsheet.")
    ] = FileFormat.JSONL,
) -> None:
    """Write the whole audit log to a file, with what verifies it."""
    count = write_file(file, form, _read_log(settings))
    write_note(f"{file}: {count} entries")


@command(app, "verify", example="wharf audit verify audit.jsonl")
def verify(
    settings: ClientSettings,
    *,
    file: Annotated[
        Path | None, typer.Argument(help="An exported file; without it, the log in the database.")
    ] = None,
    public_key: Annotated[
        list[str] | None,
        typer.Option(help="A public key that was kept elsewhere; no others count. Repeatable."),
    ] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(help="SEQUENCE:HASH of an entry that was kept elsewhere. Repeatable."),
    ] = None,
) -> Answer:
    """Find every change, removal, insertion and reordering of the audit log; exit with 1 if so."""
    verification = Verification(
        [_parse_key(text) for text in public_key or []],
        dict(_parse_known(text) for text in known or []),
    )
    source = _read_log(settings) if file is None else read_file(file)
    findings = verification.add_all(source)
    shown = [f"entry {one.sequence}: {one.code}: {one.message}" for one in findings]
    return lines([], [], [*shown, *_summary(verification)], code=1 if findings else 0)


def _summary(verification: Verification) -> Iterator[str]:
    yield f"entries: {verification.entries}"
    yield f"newest: {verification.last_sequence}:{verification.last_hash}"
    signed = verification.checkpoint
    if signed is None:
        yield "checkpoint: none after the closed segments"
    else:
        yield f"checkpoint: {signed.number} at {signed.at}, entry {signed.sequence}"
    for key in verification.keys:
        yield f"public key: {key}"
    yield "verified" if not verification.findings else "NOT VERIFIED: the log was changed"


def _read_log(settings: ClientSettings) -> Iterator[Line]:
    """Yield the lines of the log in the database; the export is read part by part."""
    after = 0
    while True:
        page = call(settings, "auditLog.export", {"afterSequence": after})
        yield from lines_of_page(page)
        if page["end"] is not None:
            return
        after = page["entries"][-1]["sequence"]


def _parse_key(text: str) -> VerifyingKey:
    try:
        return VerifyingKey.parse(text)
    except ValueError as error:
        raise SetupError(
            f"not a public key of an audit log: {error}",
            remedy="Give the public key as wharf audit verify writes it.",
        ) from error


def _parse_known(text: str) -> tuple[int, str]:
    sequence, _, known = text.partition(":")
    if not sequence.isdigit() or len(known) != HASH_DIGITS:
        raise SetupError(
            f"not an entry and its hash: {text}",
            remedy="Give it as wharf audit verify writes the newest one: SEQUENCE:HASH.",
        )
    return int(sequence), known


def _find_id(settings: ClientSettings, nouns: Sequence[Noun], name: str) -> str:
    """Return the id that the log has of a thing; a whole id may be that of a removed one."""
    if len(name) >= ID_LENGTH:
        return name
    found = find_among(settings, nouns, name)
    if found is None:
        words = ", ".join(noun.word for noun in nouns)
        raise SetupError(
            f"there is nothing named {name} among: {words}",
            remedy="Give the whole id of what was removed, or of anything else.",
        )
    noun, row = found
    return str(row[noun.id])
