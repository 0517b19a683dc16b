"""Stored JSON documents, read so that one which cannot be read keeps no other row from being read.

PostgreSQL stores deeper documents and longer numbers than Python reads. psycopg reads all columns
of a row, and all rows of an answer, at once.
"""

import json
from typing import Any, Final


class Unreadable:
    """The value of a document that cannot be read; it has the shape of none that is known."""

    def __repr__(self) -> str:
        return "unreadable"


UNREADABLE: Final = Unreadable()


def read_document(text: str | bytes) -> Any:
    """The document, or `UNREADABLE`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return UNREADABLE
