"""Entries of the audit log and their hashes; each organization has a chain of its own.

```text
entry 1 (previous hash: 64 zeros) ──hash──► entry 2 ──hash──► entry 3 …
```

A hash is the SHA-256 of the entry as JSON with sorted keys, without spaces, in UTF-8, with its
sequence number and the hash of the entry before it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

GENESIS = "0" * 64
"""The previous hash of the first entry."""


@dataclass(frozen=True)
class Entry:
    """One entry; ``at`` is UTC with microseconds, hashes are hexadecimal."""

    organization_id: str
    sequence: int
    audit_event_id: str
    at: str
    action: str
    object_id: str | None
    actor_id: str | None
    data: dict[str, Any] | None
    previous_hash: str
    hash: str = ""

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read an exported entry.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            organization_id=str(document["organizationId"]),
            sequence=int(document["sequence"]),
            audit_event_id=str(document["auditEventId"]),
            at=str(document["at"]),
            action=str(document["action"]),
            object_id=document["objectId"],
            actor_id=document["actorId"],
            data=document["data"],
            previous_hash=str(document["previousHash"]),
            hash=str(document["hash"]),
        )

    def show(self) -> dict[str, Any]:
        """Return the entry as it is exported."""
        return {**self._hashed(), "hash": self.hash}

    def compute_hash(self) -> str:
        """Return the hash that the entry must have."""
        return hashlib.sha256(canonical(self._hashed())).hexdigest()

    def _hashed(self) -> dict[str, Any]:
        return {
            "organizationId": self.organization_id,
            "sequence": self.sequence,
            "auditEventId": self.audit_event_id,
            "at": self.at,
            "action": self.action,
            "objectId": self.object_id,
            "actorId": self.actor_id,
            "data": self.data,
            "previousHash": self.previous_hash,
        }


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return the one encoding of a document that is hashed or signed."""
    shown = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return shown.encode(errors="surrogatepass")
