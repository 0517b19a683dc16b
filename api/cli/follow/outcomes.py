"""The ends of jobs, builds and deployments: exit codes, and errors in one line."""

from collections.abc import Mapping
from typing import Any

from shared.errors import in_sentences

CODES = {"succeeded": 0, "failed": 1, "cancelled": 3, "superseded": 4, "expired": 5}
"""Exit codes by the final state; 2 is a usage error."""

POLL_SECONDS = 0.5


def error_text(error: Mapping[str, Any] | None) -> str:
    """Return the error for the end of a line; an empty text if there is none."""
    if not error:
        return ""
    text = f"{error['code']}: {in_sentences(error['message'], error.get('remedy') or '')}"
    return f": {' '.join(text.split())}"
