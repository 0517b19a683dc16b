"""An organization with servers in a database of its own, and everybody's connection to it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from api.procedure.auth import hash_secret, proof_of
from shared.credentials.kinds import AnySource, source_context
from shared.database import Connection
from shared.ids import make_id
from shared.jobs.commands import SUPPORTED, Command, ImagePull, ImageTag
from shared.jobs.store.release import Released, release
from shared.jobs.store.submit import Submission, submit
from shared.jobs.store.sweep import AttemptMessage, sweep
from shared.vault import KeyRing, PrivateKey, SealContext
from tests.databases import Database
from worker.broker_users import hash_password
from worker.jobs.functions import CALL_SECONDS, Functions
from worker.local.postgres import OWNER
from worker.server.identity import Enrolment, scram_verifier

TAG = ImageTag(source="app:1", reference="registry.example/team/app:1")
PULL = ImagePull(reference="registry.example/team/app:1")
KINDS = list(SUPPORTED)
HOST = "registry.example"
PASSWORD = "what-nobody-may-see"


def _make_password() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


@dataclass
class EnrolledServer:
    """A server as its worker knows it: its own key, its own password, one connection."""

    server_id: str
    organization_id: str
    key: PrivateKey
    password: SecretStr
    url: str
    stack: AsyncExitStack = field(repr=False)
    broker_password: SecretStr = field(default_factory=_make_password)
    _connection: Connection | None = None

    @property
    def role(self) -> str:
        return f"wharf_server_{self.server_id}"

    @property
    def enrolment(self) -> Enrolment:
        return Enrolment(
            server_id=self.server_id, organization_id=self.organization_id, database_url=self.url
        )

    async def connect(self, **options: Any) -> Connection:
        """A connection of the server's role, open until the world ends."""
        return await _connect(
            self.stack,
            self.url,
            user=self.role,
            password=self.password.get_secret_value(),
            **options,
        )

    async def connection(self) -> Connection:
        """The worker's one connection, opened again where it was ended."""
        if self._connection is None or self._connection.closed:
            self._connection = await self.connect()
        return self._connection

    async def call(self, function: str, incarnation: str | None, **document: Any) -> dict[str, Any]:
        """Return the answer of one of the five functions."""
        return await call(await self.connection(), function, incarnation, **document)

    async def register(
        self, incarnation: str, predecessor: str | None = None, *, kinds: list[str] | None = None
    ) -> dict[str, Any]:
        return await self.call(
            "register",
            incarnation,
            predecessor=predecessor,
            wire_version=1,
            worker_version="1",
            kinds=KINDS if kinds is None else kinds,
            engine={},
        )

    def functions(
        self,
        incarnation: str,
        *,
        url: str | None = None,
        call_seconds: float = CALL_SECONDS,
        mark: str | None = None,
        keep_mark: Callable[[str], None] = lambda _: None,
    ) -> Functions:
        """Return the functions that the worker itself uses; closed when the world ends."""
        made = Functions(
            url or self.url,
            self.role,
            self.password.get_secret_value(),
            incarnation,
            call_seconds=call_seconds,
            mark=mark,
            keep_mark=keep_mark,
        )
        self.stack.push_async_callback(made.close)
        return made


async def call(
    connection: Connection, function: str, incarnation: str | None, **document: Any
) -> dict[str, Any]:
    """Return the answer of a function of ``worker_v1`` on this connection."""
    cursor = await connection.execute(
        f"SELECT worker_v1.{function}(%s) AS answer",
        (Jsonb({"incarnation": incarnation, **document}),),
    )
    row = await cursor.fetchone()
    assert row is not None
    answer: dict[str, Any] = row["answer"]
    return answer


@dataclass
class World:
    """``owner`` may do everything with the tables; the others are what the product connects as."""

    database: Database
    organization_id: str
    vault: PrivateKey
    owner: Connection
    api: Connection
    control: Connection
    stack: AsyncExitStack = field(repr=False)
    admin_key: str = ""

    @property
    def keys(self) -> KeyRing:
        return KeyRing([self.vault])

    async def connect(self, role: str, **options: Any) -> Connection:
        """One more connection, open until the world ends; the API's speaks for the admin key."""
        connection = await _connect(self.stack, self.database.url(role), **options)
        if role == "wharf_api":
            await speak_for(connection, self.admin_key)
        return connection

    async def add_server(
        self, incarnation: str | None = "first", *, quick_limit: int = 16, transfer_limit: int = 4
    ) -> EnrolledServer:
        """An enrolled server; alive where it has an incarnation."""
        enrolled = await self.enrol_server()
        await self.control.execute("SELECT server_role_create(%s)", (enrolled.server_id,))
        await self.control.execute(
            "UPDATE server SET role_ready_at = now(), quick_limit = %s, transfer_limit = %s"
            " WHERE server_id = %s",
            (quick_limit, transfer_limit, enrolled.server_id),
        )
        if incarnation is not None:
            assert (await enrolled.register(incarnation))["status"] == "current"
        return enrolled

    async def enrol_server(
        self, server_id: str | None = None, *, approved: bool = True
    ) -> EnrolledServer:
        """A server that has sent its proofs and has no role yet."""
        server_id, password = server_id or make_id(), _make_password()
        enrolled = EnrolledServer(
            server_id,
            self.organization_id,
            PrivateKey.generate(),
            password,
            self.database.network_url(),
            self.stack,
        )
        verifier = scram_verifier(password.get_secret_value(), secrets.token_bytes(16))
        await self.owner.execute(
            "INSERT INTO server (server_id, organization_id, name, description)"
            " VALUES (%s, %s, %s, '')",
            (server_id, self.organization_id, server_id),
        )
        await self.owner.execute(
            "INSERT INTO server_enrolment (server_id, public_key, role_verifier, broker_hash)"
            " VALUES (%s, %s, %s, %s)",
            (
                server_id,
                str(enrolled.key.public),
                verifier,
                hash_password(enrolled.broker_password.get_secret_value()),
            ),
        )
        if approved:
            await self.owner.execute(
                "UPDATE server SET approved_at = now() WHERE server_id = %s", (server_id,)
            )
        return enrolled

    async def add_key(self, role: str = "member", organization_id: str | None = None) -> str:
        """A key of this organization, or another one; what is kept of it is what the API keeps."""
        key = secrets.token_urlsafe(32)
        await self.owner.execute(
            "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
            " VALUES (%s, %s, 'ours', %s, '', %s)",
            (make_id(), organization_id or self.organization_id, role, hash_secret(key)),
        )
        return key

    async def add_registry(
        self, *, username: str = "alice", host: str = HOST, is_tried: bool = True
    ) -> str:
        """A registry whose password is sealed to the vault; it has accepted the login before."""
        registry_id = make_id()
        context = SealContext("credential", self.organization_id, registry_id, host, username)
        await self.api.execute(
            "INSERT INTO registry (registry_id, organization_id, registry_name, username, password,"
            " registry_url, registry_type, host) VALUES (%s, %s, 'ours', %s, %s, %s, 'cloud', %s)",
            (
                registry_id,
                self.organization_id,
                username,
                self.vault.public.seal(PASSWORD, context),
                host,
                host,
            ),
        )
        if is_tried:
            await self.accept_login(registry_id)
        return registry_id

    async def accept_login(self, registry_id: str) -> None:
        """Record that the registry accepted its login a moment ago."""
        await self.owner.execute(
            "SELECT login_record(registry_id, login_revision, 'accepted', 'control', now(), NULL,"
            " NULL) FROM registry WHERE registry_id = %s",
            (registry_id,),
        )

    async def add_source(
        self, source: AnySource, *, host: str = HOST, registry_id: str | None = None
    ) -> str:
        """A registry whose logins control gets by a source; it has accepted one before."""
        registry_id = registry_id or make_id()
        context = source_context(self.organization_id, registry_id, host)
        await self.api.execute(
            "INSERT INTO registry (registry_id, organization_id, registry_name, username,"
            " registry_url, registry_type, host) VALUES (%s, %s, 'cloud', %s, %s, 'cloud', %s)",
            (registry_id, self.organization_id, source.USERNAME, host, host),
        )
        await self.api.execute(
            "INSERT INTO credential_source (registry_id, organization_id, kind, shown, sealed,"
            " revision) VALUES (%s, %s, %s, %s, %s, %s)",
            (
                registry_id,
                self.organization_id,
                source.kind,
                Jsonb(source.shown()),
                self.vault.public.seal(source.to_sealable_json(), context),
                make_id(),
            ),
        )
        await self.accept_login(registry_id)
        return registry_id

    async def submit(self, enrolled: EnrolledServer, command: Command = TAG, **changes: Any) -> str:
        """Submit as the API does; gives the job's id."""
        job = Submission(self.organization_id, enrolled.server_id, command, **changes)
        return await submit(self.api, job)

    async def release(self) -> list[Released]:
        """Release jobs as control does; wait for another replica that does the same."""
        while True:
            async with self.control.transaction():
                jobs = await release(self.control)
            if jobs is not None:
                return jobs

    async def dispatch(
        self, enrolled: EnrolledServer, command: Command = TAG, **changes: Any
    ) -> str:
        """Submit a job and release it."""
        job_id = await self.submit(enrolled, command, **changes)
        assert job_id in {job.job_id for job in await self.release()}
        return job_id

    async def run(
        self, enrolled: EnrolledServer, incarnation: str = "first", **changes: Any
    ) -> str:
        """Submit a job, release it and claim its first attempt."""
        job_id = await self.dispatch(enrolled, **changes)
        answer = await enrolled.call("claim", incarnation, job_id=job_id, attempt=1)
        assert answer["status"] == "claimed"
        return job_id

    async def sweep(self) -> list[AttemptMessage]:
        return await sweep(self.control)

    async def job(self, job_id: str) -> dict[str, Any]:
        """The row."""
        [row] = await self.rows("SELECT * FROM job WHERE job_id = %s", job_id)
        return row

    async def state(self, job_id: str) -> str:
        return str((await self.job(job_id))["state"])

    async def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        return await (await self.owner.execute(query.encode(), values)).fetchall()

    async def pass_time(self, job_id: str, time: timedelta) -> None:
        """Make everything that the job's row remembers so much older."""
        await self.owner.execute(
            "UPDATE job SET run_at = run_at - %(time)s, deadline_at = deadline_at - %(time)s,"
            " lease_until = lease_until - %(time)s, published_at = published_at - %(time)s"
            " WHERE job_id = %(job_id)s",
            {"time": time, "job_id": job_id},
        )

    async def make_offline(
        self, enrolled: EnrolledServer, time: timedelta = timedelta(minutes=1)
    ) -> None:
        """Set the last heartbeat of a server back by that time."""
        await self.owner.execute(
            "UPDATE server SET seen_at = seen_at - %s WHERE server_id = %s",
            (time, enrolled.server_id),
        )

    async def empty(self) -> None:
        """Leave the database as it was, for the next world."""
        await asyncio.to_thread(self.database.empty)


@asynccontextmanager
async def open_world(database: Database) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        owner, api, control = [
            await stack.enter_async_context(database.session(role))
            for role in (OWNER, "wharf_api", "wharf_control")
        ]
        organization_id = make_id()
        await owner.execute(
            "INSERT INTO organization (organization_id, name) VALUES (%s, 'ours')",
            (organization_id,),
        )
        vault = PrivateKey.generate()
        world = World(database, organization_id, vault, owner, api, control, stack)
        world.admin_key = await world.add_key("admin")
        await speak_for(api, world.admin_key)
        yield world


async def speak_for(connection: Connection, key: str) -> None:
    """Show the key to the database, as the API does, for the whole session."""
    proof = proof_of(key).hex()
    await connection.execute("SELECT set_config('wharf.proof', %s, false)", (proof,))


async def _connect(stack: AsyncExitStack, url: str, **options: Any) -> Connection:
    connection = await AsyncConnection.connect(
        url, autocommit=True, row_factory=dict_row, **options
    )
    stack.push_async_callback(connection.close)
    return connection
