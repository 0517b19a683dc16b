"""Load stored documents safely: a worker may have written them.

``documents.sql`` checks documents before they are stored; older ones are unchecked.
"""

import json
import re
from typing import Any

MAX_LEVELS = 64
"""Far more than our documents have, far less than JSON writers can nest."""

LONG_NUMBER = re.compile(r"\d{20}")

UNREADABLE = {
    "code": "document_unreadable",
    "message": "the document that the worker stored cannot be read",
    "remedy": "See the worker's log on the server, and update the worker.",
}
"""Shown instead of such a document: an error, a result or an Engine's description."""


def load_document(stored: str | bytes) -> Any:
    """Return the document; `UNREADABLE` if it is too deep or has a number beyond 64 bits."""
    text = stored if isinstance(stored, str) else stored.decode()
    parse_int = _bounded if LONG_NUMBER.search(text) else None
    try:
        document = json.loads(text, parse_int=parse_int)
    except (RecursionError, ValueError):
        return dict(UNREADABLE)
    if text.count("{") + text.count("[") > MAX_LEVELS and not _is_flat(document):
        return dict(UNREADABLE)
    return document


def _bounded(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(len(digits))
    return int(digits)


def _is_flat(document: Any) -> bool:
    level = [document]
    for _ in range(MAX_LEVELS):
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
