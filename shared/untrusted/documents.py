"""Stored documents, read so that none of them breaks who reads it: a worker may have written it.

New ones are judged by ``documents.sql`` before they are stored; those of before may be anything.
"""

import json
import re
from typing import Any

MOST_LEVELS = 64
"""Far more than any document of ours has, far less than a writer of JSON can follow."""

LONG_NUMBER = re.compile(r"\d{20}")

UNREADABLE = {
    "code": "document_unreadable",
    "message": "what the worker said here cannot be read",
    "remedy": "See the worker's log on the server, and update it.",
}
"""Shown in place of such a document, whatever it was: an error, a result, an Engine."""


def load_document(stored: str | bytes) -> Any:
    """The document, or `UNREADABLE` where it is too deep or holds a number beyond 64 bits."""
    text = stored if isinstance(stored, str) else stored.decode()
    parse_int = _bounded if LONG_NUMBER.search(text) else None
    try:
        document = json.loads(text, parse_int=parse_int)
    except (RecursionError, ValueError):
        return dict(UNREADABLE)
    if text.count("{") + text.count("[") > MOST_LEVELS and not _is_flat(document):
        return dict(UNREADABLE)
    return document


def _bounded(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number beyond 64 bits")
    return int(digits)


def _is_flat(document: Any) -> bool:
    level = [document]
    for _ in range(MOST_LEVELS):
        below = list[Any]()
        for value in level:
            match value:
                case dict():
                    below.extend(value.values())
                case list():
                    below.extend(value)
        if not below:
            return True
        level = below
    return False
