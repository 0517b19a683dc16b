"""Read superjson (version 2): ``{"json": value, "meta": {"values": {path: ["undefined"]}}}``.

Of its annotations only ``undefined`` matters here: dates come as ISO text, which is what we take.
"""

import re
from typing import Any

from api.errors import UnreadableInputError
from api.fields.issues import Undefined
from api.fields.json_text import parse_json

_PART = re.compile(r"((?:\\.|[^.\\])*)(?:\.|$)")


def holds_superjson(text: str | bytes | None) -> bool:
    """Return whether a text is a superjson document, which only tRPC clients send."""
    try:
        value = parse_json(text) if text else None
    except UnreadableInputError:
        return False
    return isinstance(value, dict) and "json" in value


def read_superjson(document: object) -> object:
    """Return the value; undefined parts are left out, an undefined whole is `Undefined`.

    Raises:
        UnreadableInputError: not a superjson document.
    """
    if not isinstance(document, dict) or "json" not in document:
        raise UnreadableInputError('expected superjson: an object with "json"')
    if document.keys() - {"json", "meta"}:
        raise UnreadableInputError('superjson has only "json" and "meta": move fields into "json"')
    value: object = document["json"]
    meta = document.get("meta")
    marks = meta.get("values") if isinstance(meta, dict) else None
    if marks == ["undefined"]:
        return Undefined.VALUE
    if isinstance(marks, dict):
        for path, mark in marks.items():
            if mark == ["undefined"]:
                _leave_out(value, _parts(path))
    return value


def _parts(path: str) -> list[str]:
    r"""``a\.b.0`` → ``["a.b", "0"]``."""
    found = [match[1] for match in _PART.finditer(path) if match[0]]
    return [re.sub(r"\\(.)", r"\1", part) for part in found]


def _leave_out(value: Any, parts: list[str]) -> None:
    *above, last = parts or [""]
    for part in above:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value.pop(last, None)
