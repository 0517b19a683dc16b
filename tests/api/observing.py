"""Observation of a call: its answer and what it changed in the database, without what is random."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg

from shared.models import METADATA

UNSEEN = {
    "audit_event",
    "audit_chain",
    "audit_checkpoint",
    "audit_segment",
    "audit_key",
    "audit_forwarded",
} | {
    *("idempotency", "release_gate"),
}
"""Tables that tell what was asked, not what became of it."""

VOLATILE = {"last_used_at", "seen_at", "number"}
TABLES = sorted({table.name for table in METADATA.tables.values()} - UNSEEN)
ROWS = " UNION ALL ".join(f"SELECT '{table}', to_jsonb(t) FROM {table} t" for table in TABLES)

_MASKS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:\d\d)", "<time>"),
    (r"v1\.[A-Za-z0-9_.=-]{20,}", lambda found: f"<sealed {len(found[0])}>"),
    (r"\\x[0-9a-f]*", "<bytes>"),
    (r"wharf_[A-Za-z0-9_-]{3,}", "<secret>"),
    (r"[A-Za-z0-9_+/=-]{30,}", "<random>"),
    (r"\b(probe|other)-\d+(?:-[a-z0-9]{6}\b)?", r"\1-n"),
)


@dataclass(frozen=True)
class CallEffects:
    """The answer and the effects of one call; ``named`` are the fields of its warnings."""

    status: int
    answer: str
    rows: frozenset[str]
    named: frozenset[str] = field(compare=False)


async def observe(
    client: httpx2.AsyncClient,
    owner: psycopg.Connection[Any],
    names: Mapping[str, str],
    request: Callable[[httpx2.AsyncClient], Any],
    *,
    changes: bool,
) -> CallEffects:
    """The answer and the changed rows; values of ``names`` are shown by their name.

    Without ``changes`` none are looked for.
    """
    before = _rows(owner) if changes else {}
    answer = await request(client)
    after = _rows(owner) if changes else {}
    changed = [
        f"{sign} {_mask(repr((key, rows[key])), names)}"
        for sign, rows, others in (("-", before, after), ("+", after, before))
        for key in rows.keys() - others.keys()
    ]
    warnings = answer.headers.get("x-wharf-warnings", "[]")
    named = frozenset(re.findall(r'"field": "([^"]+)"', warnings))
    return CallEffects(answer.status_code, _mask(answer.text, names), frozenset(changed), named)


def _rows(owner: psycopg.Connection[Any]) -> dict[tuple[str, int], Any]:
    """All rows, each under its table and its place there."""
    found: dict[tuple[str, int], Any] = {}
    for table, row in owner.execute(ROWS.encode()):
        assert isinstance(row, dict)
        stored = {name: value for name, value in row.items() if name not in VOLATILE}
        found[(str(table), hash(repr(stored)))] = stored
    return found


def _mask(text: str, names: Mapping[str, str]) -> str:
    text = re.sub(r"\('(\w+)', -?\d+\)", r"\1", text)
    for name, value in names.items():
        text = text.replace(value, f"${name}")
    for pattern, mask in _MASKS:
        text = re.sub(pattern, mask, text)
    return text
