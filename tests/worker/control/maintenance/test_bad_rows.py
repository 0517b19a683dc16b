"""A row that cannot be handled is set aside with its cause; control lives, and handles the others.

A round of all services runs over an impossible document in every column that they read, beside a
good row for each duty.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import JSONB

from shared.database import Pool, open_pool
from shared.ids import make_id
from shared.models import METADATA
from shared.set_aside import Cause, caught, is_unavailable
from tests.waiting import wait_until
from tests.worker.control.endpoints import ANYWHERE
from tests.worker.control.plane import Plane
from tests.world import EnrolledServer, World
from worker.control.main import Control
from worker.control.scheduling.publish import Publisher
from worker.control.service import Runner, Service

DIGEST = f"sha256:{'a' * 64}"
GOOD = {"runtime": "none", "name": "app"}
DEEP = "[" * 4000 + "]" * 4000
DOCUMENTS = {
    "empty object": "{}",
    "list": "[]",
    "number": "5",
    "text": '"text"',
    "null": "null",
    "maker without reference": '{"made_by": "x"}',
    "reference that is a number": '{"reference": 5, "made_by": "x", "digest": 5}',
    "reference that is none": '{"reference": "!!bad ref", "digest": "$(id)", "code": []}',
    "objects for texts": '{"reference": {}, "digest": {}, "containerId": [], "settings": {}}',
    "control signs": json.dumps({"digest": "\x1b[2J\x01\x7f", "revision": "\x07"}),
    "long number": '{"gapSeconds": 1' + "0" * 5000 + "}",
    "deep": '{"digest": ' + DEEP + "}",
}
READ = {
    *("job", "deployment", "deployment_server", "build", "rollback", "webhook_delivery"),
    *("server", "application", "job_attempt", "job_event"),
}
"""The tables with documents that the services of control read."""


@pytest.fixture
async def pool(world: World) -> AsyncIterator[Pool]:
    async with open_pool(world.database.url("wharf_control")) as pool:
        yield pool


@pytest.fixture
async def control(plane: Plane, pool: Pool) -> AsyncIterator[Control]:
    publisher = Publisher(plane.broker.url("control"))
    yield Control(pool, plane.world.keys, publisher, webhook_networks=ANYWHERE)
    publisher.close()


async def look(control: Control) -> None:
    """Have each service do once what is due."""
    for runner in control.runners.values():
        await runner.run_once()


async def causes(world: World) -> dict[tuple[str, str], str]:
    rows = await world.rows("SELECT service, row_id, code FROM set_aside")
    return {(row["service"], row["row_id"]): row["code"] for row in rows}


@dataclass(frozen=True)
class Scene:
    """A row for each duty, with all that it needs; ``text`` is what a good reference begins with.

    Its application, build, deployments and rollback points are its own.
    """

    world: World
    server: EnrolledServer
    registry_id: str
    text: str = "registry.example/team/app"

    async def insert(self, table: str, **values: Any) -> str:
        """Gives the id, which is made where none is given."""
        key = "delivery_id" if table == "webhook_delivery" else f"{table}_id"
        if table != "deployment_server":
            values = {key: make_id(), **values}
        values["organization_id"] = self.world.organization_id
        columns, places = ", ".join(values), ", ".join(["%s"] * len(values))
        given = [Jsonb(value) if isinstance(value, dict) else value for value in values.values()]
        await self.world.owner.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({places})".encode(), given
        )
        return str(values.get(key, ""))

    async def ended_job(self) -> str:
        job_id = await self.queued_job()
        await self.world.owner.execute("ALTER TABLE job DISABLE TRIGGER USER")
        await self.world.owner.execute(
            "UPDATE job SET state = 'succeeded', attempt = 1, finished_at = now(), result = %s"
            " WHERE job_id = %s",
            (Jsonb({"digest": DIGEST}), job_id),
        )
        await self.world.owner.execute("ALTER TABLE job ENABLE TRIGGER USER")
        return job_id

    async def queued_job(self) -> str:
        return await self.insert(
            "job",
            server_id=self.server.server_id,
            kind="image.pull",
            version=1,
            job_class="transfer",
            command={"reference": f"{self.text}:1"},
            max_failures=3,
            timeout_seconds=60,
        )

    async def application(self) -> str:
        name = make_id()
        return await self.insert(
            "application",
            name=name,
            app_name=name,
            description="",
            git_build_path="/",
            build_type="dockerfile",
            dockerfile="Dockerfile",
            docker_context_path=".",
        )

    async def build(self, application_id: str, **values: Any) -> str:
        job_id = await self.ended_job()
        values = {
            "version": 1,
            "title": "",
            "reference": f"{self.text}:1",
            "make_job_id": job_id,
            **values,
        }
        return await self.insert("build", application_id=application_id, **values)

    async def deployment(self, application_id: str, build_id: str, **values: Any) -> str:
        deployment_id = await self.insert(
            "deployment",
            **{
                "application_id": application_id,
                "build_id": build_id,
                "title": "",
                "description": "",
                "reference": f"{self.text}@{DIGEST}",
                "digest": DIGEST,
                "settings": GOOD,
                "on_failure": "stop",
                "point_due": False,
                **values,
            },
        )
        ended = {name: values[name] for name in ("outcome", "finished_at") if name in values}
        if ended.get("outcome") == "failed":
            ended["outcome"] = "succeeded"  # on this server; another one failed
        await self.insert(
            "deployment_server",
            deployment_id=deployment_id,
            server_id=self.server.server_id,
            pull_job_id=await self.ended_job(),
            **ended,
        )
        return deployment_id

    async def everything(self) -> dict[str, str]:
        """The row that each duty is about, by the duty; some time passed since all of them."""
        await self.world.owner.execute("UPDATE server SET seen_at = now()")
        applications = [await self.application() for _ in range(3)]
        over = {"outcome": "succeeded", "finished_at": "now"}
        builds = [await self.build(each, **over, digest=DIGEST) for each in applications]
        before = await self.deployment(applications[0], builds[0], **over)
        failed = await self.deployment(
            applications[0],
            builds[0],
            outcome="failed",
            finished_at="now",
            on_failure="rollback",
        )
        verified = await self.deployment(
            applications[2],
            builds[2],
            **over,
            point_due=True,
            retained=f"{self.text}:1",
            retained_registry_id=self.registry_id,
        )
        await self.world.owner.execute(
            "INSERT INTO application_server (application_id, server_id, organization_id)"
            " VALUES (%s, %s, %s)",
            (applications[1], self.server.server_id, self.world.organization_id),
        )
        point = await self.insert(
            "rollback",
            application_id=applications[1],
            deployment_id=make_id(),
            build_id=builds[1],
            version=1,
            reference=f"{self.text}@{DIGEST}",
            digest=DIGEST,
            registry_id=self.registry_id,
            settings=GOOD,
            settings_hash=make_id(),
            checked_at="2020-01-01",
        )
        webhook_id = await self.insert(
            "webhook", url="http://127.0.0.1:1/x", events=["job.ended"], secret="v1.x"
        )
        return {
            "release": await self.queued_job(),
            "reconcile_builds": await self.build(applications[0], version=2),
            "reconcile_deployments": await self.deployment(applications[1], builds[1]),
            "before": before,
            "automatic_rollback": failed,
            "verify_image": verified,
            "verify_point": point,
            "deliveries": await self.insert(
                "webhook_delivery",
                webhook_id=webhook_id,
                event="job.ended",
                subject_id=make_id(),
                payload={"type": "x", "timestamp": "x", "data": {}},
            ),
        }


@pytest.fixture
async def scene(world: World) -> Scene:
    server = await world.add_server(transfer_limit=1000)
    return Scene(world, server, await world.add_registry())


def documents() -> list[tuple[str, str]]:
    """The columns with documents of the tables that are read."""
    return [
        (table.name, column.name)
        for table in METADATA.sorted_tables
        for column in table.columns
        if table.name in READ and isinstance(column.type, JSONB)
    ]


async def spoil(world: World, document: str) -> int:
    """Have every document of every row be this one, where a constraint does not refuse it."""
    spoilt = 0
    for table, column in documents():
        try:
            cursor = await world.owner.execute(
                f"UPDATE {table} SET {column} = %s".encode(), (document,)
            )
        except errors.CheckViolation:
            continue
        spoilt += cursor.rowcount
    return spoilt


async def is_handled(world: World, rows: dict[str, str]) -> bool:
    """Return whether each service did its work for the good rows."""
    return await done(world, rows) == {
        *(
            "release",
            "reconcile_builds",
            "reconcile_deployments",
            "automatic_rollback",
            "verify_image",
            "verify_point",
        ),
        "deliveries",
    }


async def is_handled_at_last(control: Control, world: World, rows: dict[str, str]) -> bool:
    """Look once more: of many messages some are sent at a time."""
    await look(control)
    return await is_handled(world, rows)


DONE = {
    "release": "SELECT FROM job WHERE job_id = %s AND state = 'dispatched'",
    "reconcile_builds": "SELECT FROM build WHERE build_id = %s AND outcome = 'succeeded'",
    "reconcile_deployments": "SELECT FROM deployment WHERE deployment_id = %s"
    " AND outcome IS NOT NULL",
    "automatic_rollback": "SELECT FROM deployment WHERE rolls_back = %s",
    "verify_image": "SELECT FROM deployment WHERE deployment_id = %s"
    " AND verification_job_id IS NOT NULL",
    "verify_point": "SELECT FROM rollback WHERE rollback_id = %s"
    " AND verification_job_id IS NOT NULL",
    "deliveries": "SELECT FROM webhook_delivery WHERE delivery_id = %s AND code IS NOT NULL",
}


async def done(world: World, rows: dict[str, str]) -> set[str]:
    return {duty for duty, query in DONE.items() if await world.rows(query, rows[duty])}


async def test_an_impossible_document_in_every_column_keeps_no_good_row_from_being_handled(
    world: World, scene: Scene, control: Control
) -> None:
    assert len(documents()) > 12
    for name, document in DOCUMENTS.items():
        bad = await scene.everything()
        assert await spoil(world, document) > 10, name
        good = await scene.everything()

        await wait_until(partial(is_handled_at_last, control, world, good))
        refused = (await world.job(bad["release"]))["error"]["code"]
        assert refused in {"command_unreadable", "ref_invalid"}, name
        assert not [row for row in (await causes(world)) if row[1] == ""], name
        found = {service for service, row in await causes(world) if row in bad.values()}
        assert "automatic_rollback" in found | await done(world, bad), name
        await world.owner.execute("DELETE FROM set_aside")


async def test_a_reference_that_is_none_is_set_aside_with_its_cause(
    world: World, scene: Scene, control: Control
) -> None:
    bad = await scene.everything()
    await world.owner.execute(
        "UPDATE deployment SET retained = '!!bad ref' WHERE retained IS NOT NULL"
    )
    await world.owner.execute("UPDATE deployment SET settings = '{}'")
    good = await scene.everything()

    await look(control)
    await wait_until(lambda: is_handled(world, good))

    assert await causes(world) == {
        ("automatic_rollback", bad["automatic_rollback"]): "document_unreadable",
        ("verify_image", bad["verify_image"]): "ref_invalid",
    }
    messages = await world.rows(
        "SELECT message FROM set_aside WHERE service = 'automatic_rollback'"
    )
    assert messages == [{"message": "name: missing"}]


FULL = 2**31 - 1
"""One more is no integer: a statement about many rows fails because of one."""


async def test_a_job_that_cannot_be_dispatched_keeps_no_other_from_its_server(
    world: World, scene: Scene, control: Control
) -> None:
    bad, good = await scene.queued_job(), await scene.queued_job()
    await world.owner.execute("UPDATE job SET event_seq = %s WHERE job_id = %s", (FULL, bad))

    for _ in range(2):
        await look(control)

    assert [await world.state(job_id) for job_id in (bad, good)] == ["queued", "dispatched"]
    assert await causes(world) == {("release", bad): "database_error"}
    [row] = await world.rows("SELECT failures, message FROM set_aside")
    assert row == {"failures": 1, "message": "NumericValueOutOfRange, SQLSTATE 22003"}


async def test_rows_that_no_statement_can_change_are_found_among_many(
    world: World, scene: Scene, control: Control
) -> None:
    jobs = [await world.run(scene.server) for _ in range(7)]
    await world.owner.execute("UPDATE job SET lease_until = now() - interval '1 second'")
    bad, good = [jobs[2], jobs[5]], [*jobs[:2], *jobs[3:5], jobs[6]]
    await world.owner.execute("UPDATE job SET event_seq = %s WHERE job_id = ANY (%s)", (FULL, bad))

    await look(control)

    assert {await world.state(job_id) for job_id in bad} == {"running"}
    assert "running" not in {await world.state(job_id) for job_id in good}
    assert set(await causes(world)) == {("lose", job_id) for job_id in bad}


async def test_a_message_that_cannot_be_taken_keeps_no_other_from_being_sent(
    world: World, scene: Scene, control: Control
) -> None:
    bad = (await scene.everything())["deliveries"]
    await world.owner.execute("UPDATE webhook_delivery SET attempts = %s", (FULL,))
    good = await scene.everything()

    await look(control)
    await wait_until(lambda: is_handled(world, good))

    assert await causes(world) == {("deliveries", bad): "database_error"}


async def test_a_row_is_tried_again_after_its_pause_and_its_entry_goes(
    world: World, scene: Scene, control: Control
) -> None:
    bad = (await scene.everything())["automatic_rollback"]
    await world.owner.execute("UPDATE deployment SET settings = '{}'")
    failures = []
    for _ in range(3):
        await look(control)
        await look(control)
        [row] = await world.rows("SELECT failures, next_at - now() AS pause FROM set_aside")
        failures.append((row["failures"], round(row["pause"].total_seconds()) > row["failures"]))
        await world.owner.execute("UPDATE set_aside SET next_at = now()")
    await world.owner.execute("UPDATE deployment SET settings = %s", (Jsonb(GOOD),))
    await look(control)
    await world.owner.execute("UPDATE set_aside SET next_at = now() - interval '3 minutes'")
    await look(control)

    assert [count for count, _ in failures] == [1, 2, 3]
    assert failures[2][1]
    assert await world.rows("SELECT FROM deployment WHERE rolls_back = %s", bad)
    assert await causes(world) == {}


async def test_a_service_that_fails_stops_no_other(world: World, pool: Pool) -> None:
    looks = {"bad": 0, "good": 0}

    async def fail(_: Pool) -> None:
        looks["bad"] += 1
        raise KeyError("what nobody may see")

    async def work(_: Pool) -> None:
        looks["good"] += 1

    runner = Runner(pool, [Service("bad", fail), Service("good", work)])
    for _ in range(3):
        await runner.run_once()

    counts = {name: (one.runs, one.failures) for name, one in runner.statistics.items()}
    assert looks == {"bad": 1, "good": 3}
    assert counts == {"bad": (1, 1), "good": (3, 0)}
    [row] = await world.rows("SELECT service, row_id, code, message FROM set_aside")
    assert (row["service"], row["row_id"], row["code"]) == ("bad", "", "document_unreadable")
    assert "nobody" not in row["message"]


async def test_only_the_database_being_away_or_busy_is_no_rows_fault(world: World) -> None:
    async def of(query: str) -> Exception:
        found = await caught(world.owner.execute(query.encode()))
        assert isinstance(found, Exception)
        return found

    assert is_unavailable(psycopg.OperationalError("server closed the connection"))
    assert is_unavailable(errors.AdminShutdown()) and is_unavailable(errors.LockNotAvailable())
    assert not is_unavailable(await of("SELECT 1 / 0"))
    assert not is_unavailable(KeyError("x")) and not is_unavailable(OSError())
    assert Cause.of(await of("SELECT 'secret'::integer")).message == (
        "InvalidTextRepresentation, SQLSTATE 22P02"
    )
