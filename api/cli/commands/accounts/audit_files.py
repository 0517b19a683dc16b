"""Files of an exported audit log: JSON lines, or CSV with one column for each field."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TextIO

from shared.audit.entries import Entry
from shared.audit.lines import Line, parse_line, show_line, write_line
from shared.errors import SetupError

COLUMNS = (
    *("type", "organizationId", "sequence", "auditEventId", "at", "action", "objectId", "actorId"),
    *("data", "previousHash", "hash", "number", "checkpoint", "keyId", "signature", "publicKey"),
    *("firstSequence", "lastSequence", "lastHash", "file", "fileSha256"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""A spreadsheet would run a cell that begins so; it gets an apostrophe in front."""


class FileFormat(Enum):
    """The format of a file."""

    JSONL = "jsonl"
    CSV = "csv"


def lines_of_page(page: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the lines of an answer of ``auditLog.export``."""
    for key in page["publicKeys"]:
        yield parse_line({"type": "key", "publicKey": key})
    for kind, name in (
        ("segment", "segments"),
        ("checkpoint", "checkpoints"),
        ("entry", "entries"),
    ):
        for one in page[name]:
            yield parse_line({"type": kind, **one})
    if page["end"] is not None:
        yield parse_line({"type": "end", **page["end"]})


def write_file(path: Path, form: FileFormat, lines: Iterable[Line]) -> int:
    """Write a new file; return the number of entries.

    Raises:
        SetupError: the file exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            return _write(file, form, lines)
    except OSError as error:
        raise SetupError(
            f"{path}: {error.strerror}", remedy="Name a new file in a directory that exists."
        ) from error


def read_file(path: Path) -> Iterator[Line]:
    """Yield the lines of a file; its first bytes tell the format.

    Raises:
        SetupError: it cannot be read, or is not an exported log.
    """
    number = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for document in _documents(file):
                number += 1
                yield parse_line(document)
    except OSError as error:
        raise SetupError(f"{path}: {error.strerror}", remedy="Name an exported file.") from error
    except (ValueError, csv.Error) as error:
        raise SetupError(
            f"{path}: line {number} is not one of an exported audit log",
            remedy="Name a file that wharf audit export wrote, or that control archived.",
        ) from error


def _write(file: TextIO, form: FileFormat, lines: Iterable[Line]) -> int:
    entries = 0
    table = csv.DictWriter(file, COLUMNS)
    if form is FileFormat.CSV:
        table.writeheader()
    for line in lines:
        entries += isinstance(line, Entry)
        if form is FileFormat.CSV:
            shown = show_line(line)
            table.writerow({name: _cell(name, value) for name, value in shown.items()})
        else:
            file.write(write_line(line))
    return entries


def _documents(file: TextIO) -> Iterator[object]:
    first = file.read(1)
    file.seek(0)
    if first == "{":
        for line in file:
            yield json.loads(line)
        return
    for row in csv.DictReader(file):
        yield {name: _value(name, cell) for name, cell in row.items()}


def _cell(name: str, value: object) -> object:
    """Return a cell: nothing for null, JSON for data, other text such that it is not a formula."""
    if value is None:
        return ""
    if name == "data":
        return json.dumps(value, ensure_ascii=False)
    text = str(value)
    return f"'{text}" if not text or text.startswith(FORMULA) else text


def _value(name: str, cell: str | None) -> object:
    if not cell:
        return None
    if name == "data":
        return json.loads(cell)
    return cell.removeprefix("'")
