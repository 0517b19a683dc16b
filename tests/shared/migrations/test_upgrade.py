"""A database at revision 0023 is upgraded without loss, while a worker of that time runs."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine

from shared.ids import make_id
from shared.jobs.commands import ImageVerify, Kind
from shared.migrations import schema
from shared.migrations.schema import alembic_config, migrate
from tests.databases import Database
from tests.shared.migrations.test_schema import check, describe
from tests.world import EnrolledServer, World, open_world
from worker.local.postgres import OWNER, LocalPostgres

FUNCTIONS = Path(__file__).with_name("functions_at_0023.sql")
VERSIONS = Path(schema.__file__).with_name("versions")
DIGEST = f"sha256:{'a' * 64}"
IMAGE = f"registry.example/team/app@{DIGEST}"
NOT_RESTORED = {"code": "not_put_back", "message": "it did not start", "retryable": False}
REPORT = {"stages": [], "proved": ["the password"], "notProved": ["the certificate"]}
RENAMED_REPORT = {
    "stages": [],
    "verified": ["the password"],
    "notVerified": ["the certificate"],
}
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"


@pytest.fixture
def old_database(postgres: LocalPostgres) -> Iterator[Database]:
    """A database as revision 0023 made it."""
    database = Database(postgres, f"test_{make_id().replace('-', '')}")
    postgres.create_database(database.name)
    try:
        upgrade_to(database, "0023")
        with psycopg.connect(database.url(OWNER)) as connection:
            connection.execute(FUNCTIONS.read_bytes())
        yield database
    finally:
        database.drop()


def upgrade_to(database: Database, revision: str) -> None:
    engine = create_engine(database.url(OWNER).replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), revision)
    engine.dispose()


@dataclass
class OldWorld:
    """An organization at revision 0023, with one server whose worker is of that time."""

    world: World
    enrolled: EnrolledServer
    application_id: str = field(default_factory=make_id)
    build_id: str = field(default_factory=make_id)

    async def store(self, kind: str, **document: Any) -> str:
        """A queued job."""
        job_id = make_id()
        await self.world.owner.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, max_failures, timeout_seconds)"
            " VALUES (%s, %s, %s, %s, 1, 'quick', %s, 1, 9)",
            (job_id, self.world.organization_id, self.enrolled.server_id, kind, Jsonb(document)),
        )
        return job_id

    async def dispatch(self, kind: str, **document: Any) -> str:
        job_id = await self.store(kind, **document)
        await self.world.owner.execute(
            "INSERT INTO job_attempt (job_id, attempt, server_id) VALUES (%s, 1, %s)",
            (job_id, self.enrolled.server_id),
        )
        await self.world.owner.execute(
            "UPDATE job SET state = 'dispatched', attempt = 1, dispatched_at = now(),"
            " rung_at = now() WHERE job_id = %s",
            (job_id,),
        )
        return job_id

    async def run(self, kind: str, **document: Any) -> str:
        job_id = await self.dispatch(kind, **document)
        answer = await self.enrolled.call("claim", "old", job_id=job_id, attempt=1)
        assert answer["status"] == "claimed"
        return job_id

    async def finish(self, kind: str, outcome: str, **document: Any) -> str:
        job_id = await self.run(kind, reference=IMAGE)
        answer = await self.enrolled.call(
            "finish", "old", job_id=job_id, attempt=1, outcome=outcome, **document
        )
        assert answer["status"] == "recorded"
        return job_id

    async def add_application(self) -> None:
        values = (self.application_id, self.world.organization_id)
        await self.world.owner.execute(
            "INSERT INTO application (application_id, organization_id, name, app_name, description,"
            " git_build_path, build_type, dockerfile, docker_context_path)"
            " VALUES (%s, %s, 'a', 'a', '', '/', 'dockerfile', 'Dockerfile', '.')",
            values,
        )
        await self.world.owner.execute(
            "INSERT INTO build (build_id, organization_id, application_id, version, title,"
            " reference, make_job_id) VALUES (%s, %s, %s, 1, '', 'x', 'job')",
            (self.build_id, *reversed(values)),
        )

    async def deploy(self, **columns: Any) -> str:
        """A deployment that has failed on its server."""
        deployment_id = make_id()
        given = {
            "deployment_id": deployment_id,
            "organization_id": self.world.organization_id,
            "application_id": self.application_id,
            "build_id": self.build_id,
            "title": "",
            "description": "",
            "reference": IMAGE,
            "digest": DIGEST,
            "settings": Jsonb({"name": "a"}),
            "on_failure": "rollback",
            "point_due": False,
            **columns,
        }
        names, values = ", ".join(given), ", ".join(["%s"] * len(given))
        await self.world.owner.execute(
            f"INSERT INTO deployment ({names}) VALUES ({values})".encode(), tuple(given.values())
        )
        await self.world.owner.execute(
            "INSERT INTO deployment_server (deployment_id, server_id, organization_id, pull_job_id,"
            " outcome, error, finished_at) VALUES (%s, %s, %s, 'job', 'failed', %s, now())",
            (
                deployment_id,
                self.enrolled.server_id,
                self.world.organization_id,
                Jsonb(NOT_RESTORED),
            ),
        )
        await self.world.owner.execute(
            "UPDATE deployment SET outcome = 'failed', error = %s, finished_at = now()"
            " WHERE deployment_id = %s",
            (Jsonb(NOT_RESTORED), deployment_id),
        )
        return deployment_id

    async def add_point(self, verification_job_id: str) -> None:
        await self.world.owner.execute(
            "INSERT INTO rollback (rollback_id, organization_id, application_id, deployment_id,"
            " build_id, version, reference, digest, settings, settings_hash, proof_job_id,"
            " proof_error, proved_at) VALUES ('point', %s, %s, 'x', %s, 1, %s, %s, '{}', '', %s,"
            " '{\"code\": \"image_incomplete\"}', '2026-01-02')",
            (
                self.world.organization_id,
                self.application_id,
                self.build_id,
                IMAGE,
                DIGEST,
                verification_job_id,
            ),
        )

    async def messages(self) -> dict[str, dict[str, Any]]:
        """The data of the messages to endpoints, by what they are about."""
        rows = await self.world.rows(
            "SELECT subject_id, payload->'data' AS data FROM webhook_delivery"
        )
        return {row["subject_id"]: row["data"] for row in rows}


@pytest.fixture
async def old(old_database: Database) -> AsyncIterator[OldWorld]:
    async with open_world(old_database) as world:
        enrolled = await world.enrol_server()
        await world.control.execute("SELECT server_role_create(%s)", (enrolled.server_id,))
        await world.owner.execute(
            "UPDATE server SET role_ready_at = now(), quick_slots = 7, transfer_slots = 5,"
            " build_slots = 3"
        )
        kinds = ["image.prove@1", "registry.test@1", "container.replace@1"]
        answer = await enrolled.call("hello", "old", kinds=kinds, engine={})
        assert answer["status"] == "current"
        await world.owner.execute(
            "INSERT INTO webhook (webhook_id, organization_id, url, events, secret)"
            " VALUES ('hook', %s, 'http://10.0.0.1/', '{job.ended,deployment.ended}', 'v1.x')",
            (world.organization_id,),
        )
        yield OldWorld(world, enrolled)


def upgrade(old: OldWorld) -> None:
    migrate(old.world.database.url(OWNER))


def test_the_folders_hold_one_line_of_revisions() -> None:
    scripts = ScriptDirectory.from_config(alembic_config(None))  # type: ignore[arg-type]

    revisions = [each.revision for each in scripts.walk_revisions()]

    assert scripts.get_bases() == ["0001"]
    assert revisions == sorted(revisions, reverse=True)
    assert len(revisions) == len(list(VERSIONS.rglob("*.py")))
    assert max(len(list(folder.glob("*.py"))) for folder in VERSIONS.iterdir()) <= 15


def test_an_upgraded_database_is_as_a_new_one(old_database: Database, database: Database) -> None:
    migrate(old_database.url(OWNER))

    check(old_database.url(OWNER))
    assert describe(old_database) == describe(database)
    assert old_database.execute(INDEXES) == database.execute(INDEXES)


async def test_jobs_keep_all_they_had_under_the_new_names(old: OldWorld) -> None:
    ended = await old.finish("image.prove", "succeeded", result={"digest": DIGEST})
    failed = await old.finish("container.replace", "failed", error=NOT_RESTORED)
    tested = await old.finish("registry.test", "succeeded", result=REPORT)
    refused = await old.finish(
        "registry.test", "failed", error={**NOT_RESTORED, "code": "push_denied", "report": REPORT}
    )
    running = await old.run("image.prove", reference=IMAGE)
    data = {"line": "one"}
    named = {"job_id": running, "attempt": 1}
    await old.enrolled.call("event", "old", **named, number=4, kind="log", data=data)
    [before] = await old.world.rows("SELECT rung_at FROM job WHERE job_id = %s", running)

    upgrade(old)

    assert (await old.world.job(ended))["kind"] == Kind.IMAGE_VERIFY
    job = await old.world.job(failed)
    assert job["error"] == {**NOT_RESTORED, "code": "restore_failed"}
    [attempt] = await old.world.rows("SELECT error FROM job_attempt WHERE job_id = %s", failed)
    assert attempt["error"] == job["error"]
    events = await old.world.rows(
        "SELECT data FROM job_event WHERE job_id = %s AND state = 'failed'", failed
    )
    assert events == [{"data": {"error": job["error"]}}]
    assert (await old.world.job(tested))["result"] == RENAMED_REPORT
    assert (await old.world.job(refused))["error"]["report"] == RENAMED_REPORT
    [attempt] = await old.world.rows(
        "SELECT last_event_number FROM job_attempt WHERE job_id = %s", running
    )
    assert attempt["last_event_number"] == 4
    assert (await old.world.job(running))["published_at"] == before["rung_at"]


async def test_deployments_and_points_keep_all_they_had_under_the_new_names(old: OldWorld) -> None:
    await old.add_application()
    proof = await old.store("image.prove", reference=IMAGE)
    failed = await old.deploy()
    following = await old.deploy(undoes=failed, proof_job_id=proof)
    await old.add_point(proof)
    [server] = await old.world.rows("SELECT hello_at FROM server")

    upgrade(old)

    restored = {**NOT_RESTORED, "code": "restore_failed"}
    assert await old.world.rows(
        "SELECT deployment_id, rolls_back, verification_job_id, error FROM deployment"
        " ORDER BY number"
    ) == [
        {
            "deployment_id": failed,
            "rolls_back": None,
            "verification_job_id": None,
            "error": restored,
        },
        {
            "deployment_id": following,
            "rolls_back": failed,
            "verification_job_id": proof,
            "error": restored,
        },
    ]
    assert await old.world.rows("SELECT DISTINCT error FROM deployment_server") == [
        {"error": restored}
    ]
    [point] = await old.world.rows(
        "SELECT verification_job_id, verification_error, verified_at::date::text FROM rollback"
    )
    assert list(point.values()) == [proof, {"code": "image_incomplete"}, "2026-01-02"]
    assert await old.world.rows(
        "SELECT quick_limit, transfer_limit, build_limit, registered_at FROM server"
    ) == [
        {
            "quick_limit": 7,
            "transfer_limit": 5,
            "build_limit": 3,
            "registered_at": server["hello_at"],
        }
    ]


async def test_what_control_had_set_aside_keeps_its_service(old: OldWorld) -> None:
    names = ["settle_builds", "settle_servers", "settle_deployments", "prove", "prove_again"]
    for name in [*names, "lose"]:
        await old.world.owner.execute("INSERT INTO set_aside VALUES (%s, 'x', 'y', '')", (name,))

    upgrade(old)

    assert {row["service"] for row in await old.world.rows("SELECT service FROM set_aside")} == {
        *("reconcile_builds", "reconcile_servers", "reconcile_deployments"),
        *("verify_image", "verify_point", "lose"),
    }


async def test_only_messages_that_are_still_to_be_sent_get_the_new_names(old: OldWorld) -> None:
    await old.add_application()
    failed = await old.deploy()
    following = await old.deploy(undoes=failed)
    sent = await old.finish("image.prove", "succeeded", result={"digest": DIGEST})
    waiting = await old.finish("image.prove", "succeeded", result={"digest": DIGEST})
    await old.world.owner.execute(
        "UPDATE webhook_delivery SET delivered_at = now(), due_at = NULL WHERE subject_id = %s",
        (sent,),
    )
    before = await old.messages()

    upgrade(old)

    after = await old.messages()
    assert after[sent] == before[sent]
    assert after[waiting] == {**before[waiting], "kind": "image.verify"}
    assert (after[following]["rollsBack"], after[failed]["rollsBack"]) == (failed, None)
    assert after[following]["error"]["code"] == "restore_failed"
    assert not [data for data in after.values() if "undoes" in data]
    assert before[following].keys() - {"undoes"} == after[following].keys() - {"rollsBack"}


async def test_a_worker_of_before_keeps_its_leases_and_ends_its_jobs(old: OldWorld) -> None:
    running = await old.run("image.prove", reference=IMAGE)
    upgrade(old)

    jobs = [{"job_id": running, "attempt": 1}]
    answer = await old.enrolled.call("beat", "old", jobs=jobs)
    finished = await old.enrolled.call(
        "finish", "old", job_id=running, attempt=1, outcome="succeeded", result={"digest": DIGEST}
    )

    # A worker of before ignores the field that it does not know.
    assert answer["jobs"] == [{**jobs[0], "cancel": False, "hand_back": False}]
    assert finished["state"] == "succeeded"
    again = await old.enrolled.call("hello", "next", predecessor="old", kinds=[], engine={})
    assert again["status"] == "current"


async def test_jobs_of_before_run_on_a_worker_of_now(old: OldWorld) -> None:
    queued = await old.store("image.prove", reference=IMAGE)
    dispatched = await old.dispatch("image.prove", reference=IMAGE)
    upgrade(old)
    assert await old.world.release() == []  # the worker of before knows the former kind only

    await old.enrolled.register("new", predecessor="old")
    released = await old.world.release()

    assert {job.job_id: (job.kind, job.attempt) for job in released} == {
        queued: (Kind.IMAGE_VERIFY, 1),
        dispatched: (Kind.IMAGE_VERIFY, 2),
    }
    for job in released:
        named = {"job_id": job.job_id, "attempt": job.attempt}
        claimed = await old.enrolled.call("claim", "new", **named)
        assert ImageVerify.model_validate(claimed["command"]).reference == IMAGE
        result = {"digest": DIGEST}
        await old.enrolled.call("finish", "new", **named, outcome="succeeded", result=result)
        assert await old.world.state(job.job_id) == "succeeded"
    outcomes = await old.world.rows(
        "SELECT attempt, outcome FROM job_attempt WHERE job_id = %s ORDER BY attempt", dispatched
    )
    assert [row["outcome"] for row in outcomes] == ["returned", "succeeded"]
