"""The context of a procedure call: the resources of this process, and the caller."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel
from sqlalchemy import text
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import ChangedMeanwhileError
from api.events.feed import Feeds
from api.events.readers import Readers
from api.events.waiter import Waiter
from api.fields.effects import FieldWarning, judge
from api.limits.concurrency_limit import ConcurrencyLimit
from api.limits.disk import DiskWatch
from api.limits.guess_limit import GuessLimit
from api.limits.quotas import Quotas
from api.limits.rate_limit import RateLimiter
from api.limits.reports import Reports
from api.procedure.sealing import SealingKey
from api.procedure.sessions import Sessions
from api.procedure.versions import RowVersion, read_version
from api.sockets.connections import Connections
from api.uploads.store import ContextStore
from shared.database import Pool
from shared.ids import make_id
from shared.logs import LogStream
from shared.models import Application
from shared.networks import RegistryNetworks
from shared.tls import fingerprint_of

Role = Literal["owner", "admin", "member", "viewer"]
"""Each role may all that the next one may."""


@dataclass(frozen=True)
class Resources:
    """The resources of the API process; none of them opens a stored password.

    ``patience`` is how long a request waits for a job. An enrolled server receives the two server
    URLs, which hold no password. ``contexts`` stores uploads; without it uploads are refused.
    People open Flower at ``flower_url``.
    ``readers``, ``waits``, ``uploads`` and ``bodies`` limit concurrency. ``procedure_names`` are
    those that an API key may be limited to. ``sign_in_counts`` are by method and outcome.
    ``ca`` is the internal CA's certificate in PEM.
    """

    pool: Pool
    sessions: Sessions
    waiter: Waiter
    feeds: Feeds
    readers: Readers
    waits: ConcurrencyLimit
    uploads: ConcurrencyLimit
    bodies: ConcurrencyLimit
    guesses: GuessLimit
    sign_ins: GuessLimit
    reports: Reports
    limiter: RateLimiter
    connections: Connections
    vault: SealingKey
    networks: RegistryNetworks
    webhook_networks: RegistryNetworks
    server_database_url: str | None
    server_broker_url: str | None
    contexts: ContextStore | None
    quotas: Quotas
    flower_url: str | None
    patience: timedelta
    disk: DiskWatch
    procedure_names: frozenset[str]
    log: LogStream | None = None
    ca: str | None = None
    sign_in_counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def ca_sha256(self) -> str | None:
        """Return the SHA-256 of the internal CA, which joining servers pin."""
        return fingerprint_of(self.ca) if self.ca else None


@dataclass(frozen=True)
class Caller:
    """The actor of a request and its rights; database functions check ``proof``.

    The actor is an API key, of ``member_id`` if it is a member's, a member who signed in (with
    ``user_id`` and ``session_id``), or a deploy hook, for its ``application_id`` only. Empty
    ``procedures``, networks and ``application_ids`` limit nothing.
    """

    organization_id: str
    actor_id: str | None
    role: Role
    proof: str = field(default="", repr=False)
    application_id: str | None = None
    procedures: Sequence[str] = ()
    networks: Sequence[str] = ()
    member_networks: Sequence[str] = ()
    organization_networks: Sequence[str] = ()
    application_ids: Sequence[str] = ()
    user_id: str | None = None
    session_id: str | None = None
    member_id: str | None = None

    @property
    def is_admin(self) -> bool:
        """Return whether the caller may do what administrators do; an owner may."""
        return self.role in {"owner", "admin"}

    def may_build(self, application: Application) -> bool:
        """Return whether the key may build, deploy and cancel the application.

        Every member's key may if the application has no `allowedKeys`.
        """
        return (
            self.is_admin
            or self.application_id == application.application_id
            or not application.allowed_keys
            or self.actor_id in application.allowed_keys
        )


PROVE = "SELECT set_config('wharf.proof', %s, true)"
"""Give the caller's proof to the database for one transaction (authority.sql)."""

SET_PROOF = text(PROVE.replace("%s", ":proof"))

NOBODY = Caller(organization_id="", actor_id=None, role="member")
"""The caller of a public procedure: without an organization, so that no query finds rows."""


@dataclass(frozen=True)
class Context:
    """One request; ``respond_async`` is its ``Prefer: respond-async`` (RFC 7240, section 4.1).

    ``job_id`` is the id of the job that it submits, the same for each repetition with one
    ``Idempotency-Key``. ``outlives``: that job continues after the caller disconnects.
    ``host`` is the caller's address, ``address`` the same or, for IPv6, the /64 network.
    ``warnings`` name the fields of the request that have no effect. ``expected`` is the version of
    the row that the caller has compared and that is to be changed.
    """

    resources: Resources
    caller: Caller
    respond_async: bool = False
    job_id: str = field(default_factory=make_id)
    outlives: bool = False
    address: str = ""
    host: str = ""
    warnings: list[FieldWarning] = field(default_factory=list)
    expected: RowVersion | None = None

    async def require_expected(self, session: AsyncSession, object_id: str) -> None:
        """Refuse to change a row, which is locked, if it is not the one that was compared.

        Raises:
            ChangedMeanwhileError: it was written since.
        """
        expected = self.expected
        if expected is None or expected.object_id != object_id:
            return
        if await read_version(session, expected.noun, object_id) != expected:
            raise ChangedMeanwhileError(
                f"the {expected.noun} was changed by somebody else while this was being saved",
                remedy="Send the form again: it then shows what has changed.",
            )

    def check_effects(self, request: BaseModel, subject: object) -> None:
        """Add warnings for input fields without effect on the subject.

        Raises:
            NoEffectError: a field would change the outcome, but cannot take effect.
        """
        self.warnings.extend(each for each in judge(request, subject) if each not in self.warnings)

    @property
    def organization_id(self) -> str:
        return self.caller.organization_id

    def waiting(self) -> AbstractContextManager[None]:
        """Count this request among those that wait for a job; enter it before the job is stored."""
        return self.resources.waits.hold(self.organization_id, self.caller.actor_id)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a session in a transaction for the caller; commit at the end of the block."""
        async with self.resources.sessions.begin() as session:
            if self.caller.proof:
                await (await session.connection()).execute(SET_PROOF, {"proof": self.caller.proof})
            yield session
