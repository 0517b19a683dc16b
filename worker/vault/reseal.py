"""Seal every stored secret to the current key, in batches; a repetition goes on where one ended.

What is left is the rows themselves: those sealed to another key. So nothing has to remember how far
an earlier run came, and what is stored with an older key meanwhile is found by the next run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg.rows import dict_row

from shared.errors import WharfError
from shared.vault import VERSION, KeyRing, PublicKey
from worker.vault.places import PLACES, Place, Row

BATCH = 200
"""Rows of one transaction: it locks them for some milliseconds."""

OTHER = "NOT starts_with({sealed}, %(current)s)"


@dataclass
class Outcome:
    """What a run did: the number of resealed secrets, and those that do not open, by place."""

    resealed: int = 0
    changed_meanwhile: int = 0
    unopened: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Remaining:
    """The secrets of one place that are not sealed to the current key, by the id of their key."""

    place: str
    key_id: str
    count: int


@dataclass(frozen=True)
class Resealing:
    """Seals what is stored with ``keys`` to ``current``; ``show`` gets a place and its number."""

    connection: psycopg.Connection[Row]
    keys: KeyRing
    current: PublicKey
    batch: int
    show: Callable[[str, int], None]
    outcome: Outcome = field(default_factory=Outcome)

    def carry_out(self, place: Place) -> None:
        """Reseal one place, in the order of its rows."""
        condition = OTHER.format(sealed=place.sealed) + f" AND target.{place.key} > %(after)s"
        columns = f"target.{place.key} AS row_id, {place.sealed} AS sealed, {place.fields}"
        tail = f"ORDER BY target.{place.key} LIMIT %(batch)s"
        query = place.select(condition, columns=columns, tail=tail)
        after, done = "", 0
        while True:
            values = {"current": prefix(self.current), "after": after, "batch": self.batch}
            rows = self.connection.execute(query, values).fetchall()
            if not rows:
                return
            done += self._reseal(place, rows)
            after = str(rows[-1]["row_id"])
            self.show(place.name, done)

    def _reseal(self, place: Place, rows: list[Row]) -> int:
        """Reseal these rows in one statement; return the number of those that had not changed."""
        fresh = [(row["row_id"], row["sealed"], self._seal(place, row)) for row in rows]
        opened = [one for one in fresh if one[2] is not None]
        values = {
            "ids": [one[0] for one in opened],
            "old": [one[1] for one in opened],
            "new": [one[2] for one in opened],
        }
        changed = self.connection.execute(place.update(), values).rowcount
        self.outcome.resealed += changed
        self.outcome.changed_meanwhile += len(opened) - changed
        return changed

    def _seal(self, place: Place, row: Row) -> str | None:
        try:
            context = place.context(row)
            return self.current.seal(self.keys.open(row["sealed"], context), context)
        except (WharfError, ValueError):
            self.outcome.unopened.setdefault(place.name, []).append(str(row["row_id"]))
            return None


def reseal(
    url: str,
    keys: KeyRing,
    current: PublicKey,
    *,
    batch: int = BATCH,
    show: Callable[[str, int], None] = lambda _place, _count: None,
) -> Outcome:
    """Seal all secrets of the database to ``current``; its owner's URL is ``url``.

    A secret that is changed while this runs is not overwritten. ``show`` gets the place and the
    number of its secrets after each batch.
    """
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("SET lock_timeout = '5s'")
        work = Resealing(connection, keys, current, batch, show)
        for place in PLACES:
            work.carry_out(place)
        return work.outcome


def find_remaining(url: str, current: PublicKey) -> list[Remaining]:
    """Return what is not sealed to the current key."""
    found = []
    with psycopg.connect(url) as connection:
        for place in PLACES:
            query = place.select(
                OTHER.format(sealed=place.sealed),
                columns=f"split_part({place.sealed}, '.', 2), count(*)",
                tail="GROUP BY 1",
            )
            rows = connection.execute(query, {"current": prefix(current)}).fetchall()
            found += [Remaining(place.name, key_id, count) for key_id, count in rows]
    return found


def prefix(key: PublicKey) -> str:
    """Return the beginning of all that is sealed to a key."""
    return f"{VERSION}.{key.key_id}."
