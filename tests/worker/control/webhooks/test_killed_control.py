"""Control is killed while it tells of events: each event is sent, always with the same id."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from shared.credentials.slots import StoredLogin
from shared.database import Connection
from shared.ids import make_id
from shared.vault import SealContext
from tests.waiting import wait_until
from tests.worker.control.endpoints import Endpoint, add_webhook, make_due, open_endpoint, rows
from tests.worker.control.plane import Plane
from tests.world import HOST
from worker.local.processes import Child

EVENTS = ("credential.due", "certificate.due", "credential.rotated")
BACKENDS = """
SELECT count(*) AS n FROM pg_stat_activity
 WHERE datname = current_database() AND usename = 'wharf_control'
"""
BLOCKED = """
SELECT FROM pg_locks waits WHERE NOT granted AND relation = %(table)s::regclass
   AND (%(holds)s::regclass IS NULL OR EXISTS (
     SELECT FROM pg_locks held WHERE held.pid = waits.pid AND held.granted
        AND held.mode = 'RowExclusiveLock' AND held.relation = %(holds)s::regclass))
"""
DELAY = """
CREATE FUNCTION delay() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN NEW.due_at = now() + interval '1 hour'; RETURN NEW; END $$;
CREATE TRIGGER delay BEFORE INSERT ON webhook_delivery FOR EACH ROW EXECUTE FUNCTION delay();
"""


@dataclass
class Scene:
    """Three events that control has yet to tell, their endpoint, and a connection that blocks."""

    plane: Plane
    endpoint: Endpoint
    blocker: Connection
    directory: Path
    backends: int
    expected: set[tuple[str, str]]
    started: list[Child] = field(default_factory=list)

    def start(self) -> Child:
        log = self.directory / f"control-{len(self.started)}.log"
        control = self.plane.start_process(log)
        self.started.append(control)
        return control

    @asynccontextmanager
    async def locked(self, table: str, mode: str) -> AsyncIterator[None]:
        """Hold a lock of the table during the block."""
        async with self.blocker.transaction():
            await self.blocker.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
            yield

    async def wait_for_blocked(self, table: str, *, holds: str | None = None) -> None:
        """Wait until a statement waits for the table, in a transaction that has changed another."""
        values = {"table": table, "holds": holds}

        async def is_blocked() -> bool:
            return bool(await (await self.blocker.execute(BLOCKED, values)).fetchall())

        await wait_until(is_blocked, seconds=30)

    async def wait_until_recorded(self) -> None:
        async def are_recorded() -> bool:
            return len(await rows(self.plane.world)) == len(self.expected)

        await wait_until(are_recorded, seconds=30)

    async def wait_for_backends(self) -> None:
        """Wait until PostgreSQL has ended the connections of dead processes."""

        async def have_ended() -> bool:
            [row] = await (await self.blocker.execute(BACKENDS)).fetchall()
            return bool(row["n"] == self.backends)

        await wait_until(have_ended, seconds=30)

    async def wait_until_delivered(self) -> None:
        async def are_delivered() -> bool:
            found = await rows(self.plane.world)
            return len(found) == len(self.expected) and all(row["delivered_at"] for row in found)

        await wait_until(are_delivered, seconds=30)


async def while_it_records(scene: Scene) -> None:
    async with scene.locked("credential_notice", "EXCLUSIVE"):
        control = scene.start()
        await scene.wait_for_blocked("credential_notice")
        control.kill()


async def while_it_stores_messages(scene: Scene) -> None:
    async with scene.locked("webhook_delivery", "SHARE"):
        control = scene.start()
        await scene.wait_for_blocked("webhook_delivery", holds="credential_notice")
        control.kill()


async def while_it_switches_a_login(scene: Scene) -> None:
    async with scene.locked("webhook_delivery", "SHARE"):
        control = scene.start()
        await scene.wait_for_blocked("webhook_delivery", holds="rotation")
        control.kill()


async def before_it_takes_messages(scene: Scene) -> None:
    await scene.plane.world.owner.execute(DELAY)
    control = scene.start()
    await scene.wait_until_recorded()
    control.kill()


async def while_it_takes_messages(scene: Scene) -> None:
    await scene.plane.world.owner.execute(DELAY)
    control = scene.start()
    await scene.wait_until_recorded()
    async with scene.locked("webhook_delivery", "SHARE"):
        await scene.blocker.execute("UPDATE webhook_delivery SET due_at = now()")
        await scene.plane.world.owner.execute("NOTIFY wharf_webhook")
        await scene.wait_for_blocked("webhook_delivery")
        control.kill()


async def while_it_sends(scene: Scene) -> None:
    control = scene.start()

    async def kill() -> None:
        control.kill()

    scene.endpoint.begins = kill
    await scene.endpoint.wait_for(1, seconds=30)


async def while_it_records_what_was_answered(scene: Scene) -> None:
    await scene.plane.world.owner.execute(DELAY)
    control = scene.start()
    await scene.wait_until_recorded()
    locks = scene.locked("webhook_delivery", "SHARE")

    async def lock() -> None:
        scene.endpoint.begins = None
        await locks.__aenter__()

    scene.endpoint.begins = lock
    [first, *_] = await rows(scene.plane.world)
    await scene.plane.world.owner.execute(
        "UPDATE webhook_delivery SET due_at = now() WHERE delivery_id = %s", (first["delivery_id"],)
    )
    await scene.plane.world.owner.execute("NOTIFY wharf_webhook")
    await scene.endpoint.wait_for(1, seconds=30)
    await scene.wait_for_blocked("webhook_delivery")
    control.kill()
    await locks.__aexit__(None, None, None)


STEPS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    while_it_records,
    while_it_stores_messages,
    while_it_switches_a_login,
    before_it_takes_messages,
    while_it_takes_messages,
    while_it_sends,
    while_it_records_what_was_answered,
)


@pytest.fixture
async def scene(plane: Plane, tmp_path: Path) -> AsyncIterator[Scene]:
    world = plane.world
    async with open_endpoint() as endpoint:
        await add_webhook(world, endpoint.url, *EVENTS)
        old, rotating = await world.add_registry(), await world.add_registry()
        await make_old(plane, old)
        await stage(plane, rotating)
        blocker = await world.connect("wharf_owner")
        [row] = await (await blocker.execute(BACKENDS)).fetchall()
        expected = {
            ("credential.due", old),
            ("certificate.due", old),
            ("credential.rotated", rotating),
        }
        scene = Scene(plane, endpoint, blocker, tmp_path, row["n"], expected)
        try:
            yield scene
        finally:
            for control in scene.started:
                control.kill()


async def make_old(plane: Plane, registry_id: str) -> None:
    """Make a registry's login due, and give it a certificate that ends soon."""
    ends = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    certificate = {"use": "ca", "subject": "CN=ours", "sha256": "00ff", "not_after": ends}
    await plane.world.owner.execute(
        "UPDATE registry SET password_changed_at = now() - interval '91 days', certificates = %s"
        " WHERE registry_id = %s",
        (Jsonb([certificate]), registry_id),
    )


async def stage(plane: Plane, registry_id: str) -> None:
    """Stage a login that is used without a test: there is no server."""
    login = StoredLogin(
        username="bob",
        password=plane.world.vault.public.seal(
            "the new password",
            SealContext("credential", plane.world.organization_id, registry_id, HOST, "bob"),
        ),
        password_changed_at=datetime.now(UTC),
        login_revision=make_id(),
    )
    await plane.world.api.execute(
        "INSERT INTO rotation (rotation_id, organization_id, registry_id, state, slot, forced)"
        " VALUES (%s, %s, %s, 'testing', %s, true)",
        (
            make_id(),
            plane.world.organization_id,
            registry_id,
            Jsonb(login.model_dump(mode="json")),
        ),
    )


@pytest.mark.parametrize("kill", STEPS, ids=lambda step: step.__name__)
async def test_an_event_is_sent_with_one_id_although_control_was_killed(
    scene: Scene, kill: Callable[[Scene], Awaitable[None]]
) -> None:
    await kill(scene)
    scene.endpoint.begins = None
    await scene.plane.world.owner.execute("DROP FUNCTION IF EXISTS delay CASCADE")
    await scene.wait_for_backends()
    await make_due(scene.plane.world)  # the leases are over

    scene.start()
    await scene.wait_until_delivered()

    ids: dict[tuple[str, str], set[str]] = {}
    for message in scene.endpoint.messages:
        content = message.content
        ids.setdefault((content["type"], content["data"]["registryId"]), set()).add(message.id)
    assert ids.keys() == scene.expected
    assert [len(each) for each in ids.values()] == [1, 1, 1]
