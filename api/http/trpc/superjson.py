"""Read superjson (version 2): ``{"json": value, "meta": {"values": {path: ["undefined"]}}}``.

Of its annotations ``undefined`` and ``Date`` are read: dates are ISO text here too.
Others would change the type of the value, so they are refused.
"""

import re
from typing import Any

from api.errors import UnreadableInputError
from api.fields.issues import Undefined
from api.fields.json_text import parse_json

META = ("values", "referentialEqualities", "v")

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
        raise UnreadableInputError(
            "the superjson input is not an object with the key json",
            remedy='Send {"json": VALUE} as the input.',
        )
    if document.keys() - {"json", "meta"}:
        raise UnreadableInputError(
            "the superjson input may have only the keys json and meta",
            remedy="Move all other fields into json.",
        )
    value: object = document["json"]
    for path, mark in _marks(document.get("meta")):
        if mark not in (["undefined"], ["Date"]):
            raise UnreadableInputError(
                "the meta of the superjson input may mark only undefined and Date",
                remedy="Send the other values as plain JSON.",
            )
        if path is None and mark == ["undefined"]:
            return Undefined.VALUE
        if path is not None:
            _apply(value, path, leave_out=mark == ["undefined"])
    return value


def _marks(meta: object) -> list[tuple[str | None, object]]:
    """Return the paths that are marked, each with its mark; the path of the whole is `None`."""
    if meta is None:
        return []
    if not isinstance(meta, dict) or set(meta) - set(META):
        raise UnreadableInputError(
            f"the meta of the superjson input may have only the keys {', '.join(META)}"
        )
    marks = meta.get("values")
    if isinstance(marks, dict):
        return list(marks.items())
    return [] if marks is None else [(None, marks)]


def _parts(path: str) -> list[str]:
    r"""``a\.b.0`` → ``["a.b", "0"]``."""
    found = [match[1] for match in _PART.finditer(path) if match[0]]
    return [re.sub(r"\\(.)", r"\1", part) for part in found]


def _apply(value: Any, path: str, *, leave_out: bool) -> None:
    """Find a marked part, and remove it if it is undefined; of a list it stays as ``null``."""
    *above, last = _parts(path) or [""]
    for part in above:
        value = _child(value, part, path)
    _child(value, last, path)
    if leave_out and isinstance(value, dict):
        del value[last]


def _child(value: Any, part: str, path: str) -> Any:
    if isinstance(value, dict) and part in value:
        return value[part]
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    raise UnreadableInputError(
        f"the meta of the superjson input marks {path[:100]!r}, which is not in json"
    )
