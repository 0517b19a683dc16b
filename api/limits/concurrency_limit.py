"""Limit concurrent streams, waits, uploads and large requests: by key, by owner and in total.

The owner is an organization, or the address of a client that has not sent a key yet.

Each process counts for itself. A caller over its share is refused; the others are served.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from api.errors import BusyError, TooManyAtOnceError


@dataclass
class ConcurrencyLimit:
    """At most ``total`` at once; an error calls them ``things``, and their owner ``owner``."""

    things: str
    total: int
    per_owner: int
    per_key: int
    owner: str = "the organization"
    refused: int = 0
    _of_owner: Counter[str] = field(default_factory=Counter)
    _of_key: Counter[str] = field(default_factory=Counter)

    @classmethod
    def share(cls, things: str, total: int, *, per_owner: int = 0) -> Self:
        """Make a limit: half of ``total`` for one organization, a quarter for one key.

        An organization may have fewer (``per_owner``); 0 is half.
        """
        most = max(1, total // 2)
        return cls(things, total, min(per_owner or most, most), max(1, total // 4))

    @property
    def taken(self) -> int:
        return self._of_owner.total()

    def taken_by(self, owner_id: str) -> int:
        """Return how many the owner has now."""
        return self._of_owner[owner_id]

    def require_room(self, owner_id: str, key_id: str | None) -> None:
        """Check that one more is allowed.

        Raises:
            TooManyAtOnceError: the key or its owner has used its share.
            BusyError: this process has reached ``total``.
        """
        error: TooManyAtOnceError | BusyError
        if self._of_key[key_id or ""] >= self.per_key:
            error = TooManyAtOnceError(
                f"this API key has {self.per_key} {self.things}, the most allowed"
            )
        elif self._of_owner[owner_id] >= self.per_owner:
            error = TooManyAtOnceError(
                f"{self.owner} has {self.per_owner} {self.things}, the most allowed"
            )
        elif self.taken >= self.total:
            error = BusyError(f"this API process has too many {self.things}")
        else:
            return
        self.refused += 1
        raise error

    @contextmanager
    def hold(self, owner_id: str, key_id: str | None) -> Iterator[None]:
        """Count one more while the block runs.

        Raises:
            TooManyAtOnceError, BusyError: as `require_room` does.
        """
        self.require_room(owner_id, key_id)
        key = key_id or ""
        self._of_owner[owner_id] += 1
        self._of_key[key] += 1
        try:
            yield
        finally:
            _decrement(self._of_owner, owner_id)
            _decrement(self._of_key, key)


def _decrement(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
