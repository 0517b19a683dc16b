"""Grants as control makes them, sealed at once."""

from datetime import datetime

from pydantic import SecretStr

from shared.jobs.store.release import Released
from shared.vault import KeyRing
from worker.control.credentials import grants


def seal_grants(
    vault: KeyRing, job: Released, token: SecretStr | None = None, *, now: datetime | None = None
) -> str | None:
    """Return the sealed grants of the job; ``None`` if it needs none."""
    given = grants.make_grants(vault, job, token, now=now)
    return None if given is None else grants.seal_grants(job, given)
