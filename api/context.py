"""What a procedure is given: what this process holds, and who asks."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.effects import FieldWarning, judge
from api.events.feed import Feeds
from api.limits import RateLimiter
from api.sessions import Sessions
from api.uploads.store import ContextStore
from api.waiting import Waiter
from shared.database import Pool
from shared.ids import make_id
from shared.networks import RegistryNetworks
from shared.vault import PublicKey

Role = Literal["admin", "member"]


@dataclass(frozen=True)
class Resources:
    """What the API process holds; none of it opens a stored password.

    ``patience`` is how long a request waits for a job; the two URLs are what an enrolled server is
    told, without any password. ``contexts`` is where uploads are kept; without one none are taken.
    """

    pool: Pool
    sessions: Sessions
    waiter: Waiter
    feeds: Feeds
    limiter: RateLimiter
    vault: PublicKey
    networks: RegistryNetworks
    webhook_networks: RegistryNetworks
    server_database_url: str | None
    server_broker_url: str | None
    contexts: ContextStore | None
    patience: timedelta


@dataclass(frozen=True)
class Caller:
    """The key that asks, and what it may."""

    organization_id: str
    api_key_id: str | None
    role: Role


NOBODY = Caller(organization_id="", api_key_id=None, role="member")
"""Who asks a public procedure: of no organization, so that no look-up finds anything."""


@dataclass(frozen=True)
class Context:
    """One request; ``respond_async`` is its ``Prefer: respond-async`` (RFC 7240, section 4.1).

    ``job_id`` is that of the job that it submits, the same for each repeat under one
    ``Idempotency-Key``; ``outlives``: that job goes on when the caller goes away, who may repeat.
    ``warnings`` name the fields of the request that have no effect.
    """

    resources: Resources
    caller: Caller
    respond_async: bool = False
    job_id: str = field(default_factory=make_id)
    outlives: bool = False
    warnings: list[FieldWarning] = field(default_factory=list)

    def check_effects(self, asked: BaseModel, subject: object) -> None:
        """Note which fields of the input have no effect on the subject.

        Raises:
            NoEffectError: one of them would change what is done, and cannot.
        """
        self.warnings.extend(each for each in judge(asked, subject) if each not in self.warnings)

    @property
    def organization_id(self) -> str:
        return self.caller.organization_id

    def transaction(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session in a transaction that is committed at the end of the block."""
        return self.resources.sessions.begin()
