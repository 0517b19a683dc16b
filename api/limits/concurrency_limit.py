"""Bound what lasts: streams, waits, uploads; by key, by organization and in all.

Counted in this process. Whoever has more than its share is refused, and the others are served.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from api.errors import BusyError, TooManyAtOnceError


@dataclass
class ConcurrencyLimit:
    """So many of ``things`` at once; ``things`` is how they are called in an error."""

    things: str
    total: int
    per_organization: int
    per_key: int
    refused: int = 0
    _of_organization: Counter[str] = field(default_factory=Counter)
    _of_key: Counter[str] = field(default_factory=Counter)

    @classmethod
    def share(cls, things: str, total: int) -> Self:
        """Half of them for one organization, a quarter for one key."""
        return cls(things, total, max(1, total // 2), max(1, total // 4))

    @property
    def taken(self) -> int:
        return self._of_organization.total()

    def require_room(self, organization_id: str, key_id: str | None) -> None:
        """Check that there is a place.

        Raises:
            TooManyAtOnceError: the key or its organization has its share.
            BusyError: this process has no more.
        """
        error: TooManyAtOnceError | BusyError
        if self._of_key[key_id or ""] >= self.per_key:
            error = TooManyAtOnceError(f"this API key has {self.per_key} {self.things}")
        elif self._of_organization[organization_id] >= self.per_organization:
            error = TooManyAtOnceError(
                f"the organization has {self.per_organization} {self.things}"
            )
        elif self.taken >= self.total:
            error = BusyError(f"there are too many {self.things}")
        else:
            return
        self.refused += 1
        raise error

    @contextmanager
    def hold(self, organization_id: str, key_id: str | None) -> Iterator[None]:
        """Take a place while the block runs.

        Raises:
            TooManyAtOnceError, BusyError: as `require_room` does.
        """
        self.require_room(organization_id, key_id)
        key = key_id or ""
        self._of_organization[organization_id] += 1
        self._of_key[key] += 1
        try:
            yield
        finally:
            _give_back(self._of_organization, organization_id)
            _give_back(self._of_key, key)


def _give_back(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if counter[name] <= 0:
        del counter[name]
