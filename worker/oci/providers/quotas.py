"""The answers of registries about their limits, collected during one attempt at a job.

Control keeps them for all servers (``registry_quota``), so that jobs wait instead of failing.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from shared.reference import HUB
from worker.oci.providers.rate_limit import RateLimit

TOO_MANY_REQUESTS = 429
SOURCE_HEADER = "docker-ratelimit-source"
MAX_SOURCE_CHARACTERS = 200

Holder = tuple[str, str]
"""The registry's canonical name and the username; an empty one is anonymous."""


def counts_manifests(registry: str) -> bool:
    """Return whether a registry counts each manifest that is read as a pull; a HEAD is free."""
    return registry == HUB


@dataclass(frozen=True)
class Source:
    """The account or the address by which a registry counts.

    An IPv6 address stands for its /64 (Docker Hub's manual, "Usage and limits").
    """

    name: str
    is_address: bool

    @classmethod
    def parse(cls, text: str) -> "Source | None":
        """Return the source in the value of a header; ``None`` for none."""
        text = text.strip()
        if not text or len(text) > MAX_SOURCE_CHARACTERS:
            return None
        try:
            address = ip_address(text)
        except ValueError:
            return cls(text, is_address=False)
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped:
                return cls(str(address.ipv4_mapped), is_address=True)
            return cls(str(ip_network((int(address), 64), strict=False)), is_address=True)
        return cls(str(address), is_address=True)


@dataclass(frozen=True)
class Observation:
    """One answer, at a time of the log's clock; ``limit`` is ``None`` for one without headers."""

    limit: RateLimit | None
    source: Source | None
    is_refused: bool
    retry_after_seconds: float | None
    at: float

    def report(self, now: float) -> dict[str, Any]:
        """Return the observation as ``worker_v1.finish`` takes it."""
        window = self.limit.window if self.limit else None
        return {
            "source": self.source.name if self.source else None,
            "by_address": self.source is not None and self.source.is_address,
            "limit": self.limit.limit if self.limit else None,
            "remaining": self.limit.remaining if self.limit else None,
            "window_seconds": int(window.total_seconds()) if window else None,
            "refused": self.is_refused,
            "retry_after_seconds": self.retry_after_seconds,
            "age_seconds": max(now - self.at, 0.0),
        }


@dataclass
class QuotaLog:
    """The newest observation for each registry and login, and a refusal that is newer.

    ``registry_ids`` are the ids of the registries whose logins were given; ``clock`` is in seconds.
    """

    clock: Callable[[], float] = time.monotonic
    registry_ids: Mapping[Holder, str] = field(default_factory=dict)
    _limits: dict[Holder, Observation] = field(default_factory=dict)
    _refusals: dict[Holder, Observation] = field(default_factory=dict)
    _pulls: dict[Holder, int] = field(default_factory=dict)

    def note(
        self,
        holder: Holder,
        status: int,
        headers: Mapping[str, str],
        retry_after_seconds: float | None = None,
    ) -> None:
        """Keep what a response of a registry says about its limit, if it says anything."""
        seen = Observation(
            RateLimit.parse(headers),
            Source.parse(headers.get(SOURCE_HEADER, "")),
            status == TOO_MANY_REQUESTS,
            retry_after_seconds,
            self.clock(),
        )
        if seen.is_refused:
            self._refusals[holder] = seen
        elif seen.limit is not None:
            self._limits[holder] = seen
            self._refusals.pop(holder, None)

    def expect(self, holder: Holder, pulls: int) -> None:
        """Keep how many manifests the attempt reads; a registry may count each as a pull."""
        self._pulls[holder] = max(pulls, self._pulls.get(holder, 0))

    def refuse(self, retry_after_seconds: float | None) -> None:
        """Keep that the attempt was refused, if no response said so: by a token server, perhaps.

        With several logins it is not known which one was refused.
        """
        if not self._refusals and len(self.registry_ids) == 1:
            [holder] = self.registry_ids
            self.note(holder, TOO_MANY_REQUESTS, {}, retry_after_seconds)

    def report(self) -> list[dict[str, Any]]:
        """Return all observations for the job's last call, each refusal after its limit.

        The number of ``pulls`` is reported also where nothing was observed.
        """
        now = self.clock()
        observed: list[tuple[Holder, dict[str, Any]]] = [
            (holder, seen.report(now))
            for seen_of in (self._limits, self._refusals)
            for holder, seen in seen_of.items()
        ]
        silent = self._pulls.keys() - self._limits.keys() - self._refusals.keys()
        return [
            {
                "host": holder[0],
                "registry_id": self.registry_ids.get(holder),
                "pulls": self._pulls.get(holder),
                **report,
            }
            for holder, report in (*observed, *((holder, {}) for holder in sorted(silent)))
            # A login that was given with the job belongs to no stored registry.
            if not holder[1] or holder in self.registry_ids
        ]
