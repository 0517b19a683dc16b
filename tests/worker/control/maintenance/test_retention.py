"""Old finished rows are deleted, others stay; with the rights that control has."""

from datetime import timedelta
from functools import partial

import psycopg
import pytest

from shared.ids import make_id, uuid7
from shared.jobs.store.cancel import cancel
from tests.waiting import wait_until
from tests.worker.control.endpoints import add_webhook, end_job
from tests.worker.control.plane import Plane
from tests.world import EnrolledServer, World
from worker.control.maintenance.retention import BUSY_SECONDS, IDLE_SECONDS, Retention, delete_old

REFUSALS = (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction)
KEPT = Retention(jobs=timedelta(days=30), events=timedelta(days=7))
MILLISECONDS_A_DAY = 86_400_000


def id_of(days_ago: float) -> str:
    """An id as it was made so long ago."""
    now = make_id().replace("-", "")
    milliseconds = int(now[:12], 16) - int(days_ago * MILLISECONDS_A_DAY)
    return uuid7(milliseconds, bytes.fromhex(now[12:]))


async def add(
    world: World, server: EnrolledServer, *, days_ago: float, ended: float | None = None
) -> str:
    """A job that was made and, unless it waits, ended so many days ago."""
    job_id = id_of(days_ago)
    await world.submit(server, job_id=job_id)
    if ended is not None:
        await cancel(world.control, job_id, world.organization_id, "not wanted")
        await world.owner.execute(
            "UPDATE job SET finished_at = now() - %s WHERE job_id = %s",
            (timedelta(days=ended), job_id),
        )
    return job_id


async def ids(world: World, table: str) -> set[str]:
    return {row["job_id"] for row in await world.rows(f"SELECT job_id FROM {table}")}


async def test_old_jobs_go_with_all_that_belongs_to_them(world: World) -> None:
    server = await world.add_server()
    old = await add(world, server, days_ago=40, ended=31)
    ended_late = await add(world, server, days_ago=40, ended=29)
    young = await add(world, server, days_ago=29, ended=29)
    waits = await add(world, server, days_ago=400)

    pause = await delete_old(world.control, KEPT)

    assert await ids(world, "job") == {ended_late, young, waits}
    assert old not in await ids(world, "job_event")
    assert pause == IDLE_SECONDS


async def test_events_go_sooner_and_only_those_of_ended_jobs(world: World) -> None:
    server = await world.add_server()
    await add(world, server, days_ago=9, ended=8)
    young = await add(world, server, days_ago=9, ended=6)
    waits = await add(world, server, days_ago=9)

    await delete_old(world.control, KEPT)

    assert len(await ids(world, "job")) == 3
    assert await ids(world, "job_event") == {young, waits}


async def test_a_job_that_another_still_needs_stays_as_long_as_that(world: World) -> None:
    server = await world.add_server()
    needed = await add(world, server, days_ago=40, ended=40)
    waits = await add(world, server, days_ago=39)
    await world.owner.execute("INSERT INTO job_need VALUES (%s, %s, 'ended')", (waits, needed))

    await delete_old(world.control, KEPT)
    before = await ids(world, "job")
    await cancel(world.control, waits, world.organization_id, "not wanted")
    await delete_old(world.control, KEPT)

    assert before == {needed, waits}
    assert await ids(world, "job") == {waits}


async def add_application(world: World, application: str) -> None:
    await world.api.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, %s, %s, '', '/', 'dockerfile', 'Dockerfile', '.')"
        " ON CONFLICT DO NOTHING",
        (application, world.organization_id, application, application),
    )


async def test_a_repeated_push_is_recognized_for_as_long_as_jobs_are_kept(world: World) -> None:
    await add_application(world, "a")
    await world.api.execute(
        "INSERT INTO deploy_hook (hook_id, organization_id, application_id, token_hash,"
        " sealed_secret, tag_filter, require_signature)"
        " VALUES ('hook', %s, 'a', '', '', '*', true)",
        (world.organization_id,),
    )
    for event, age in (("old", 31), ("older", 32), ("young", 29)):
        await world.api.execute(
            "INSERT INTO deploy_hook_event (hook_id, event_hash, deployment_id, created_at)"
            " VALUES ('hook', %s, %s, now() - %s)",
            (event.encode(), event, timedelta(days=age)),
        )

    pause = await delete_old(world.control, KEPT, batch=1)
    left = await world.rows("SELECT deployment_id FROM deploy_hook_event ORDER BY 1")
    await delete_old(world.control, KEPT)

    assert pause == BUSY_SECONDS
    assert [row["deployment_id"] for row in left] == ["old", "young"]
    [row] = await world.rows("SELECT deployment_id FROM deploy_hook_event")
    assert row["deployment_id"] == "young"


async def add_context(world: World, application: str, *, days_ago: float) -> str:
    await add_application(world, application)
    context_id = make_id()
    await world.api.execute(
        "INSERT INTO context (context_id, organization_id, application_id, size_bytes, sha256,"
        " created_at) VALUES (%s, %s, %s, 1, repeat('0', 64), now() - %s)",
        (context_id, world.organization_id, application, timedelta(days=days_ago)),
    )
    return context_id


async def contexts(world: World) -> set[str]:
    return {row["context_id"] for row in await world.rows("SELECT context_id FROM context")}


async def test_contexts_go_as_jobs_do_and_stay_while_they_are_built_from(world: World) -> None:
    await add_context(world, "done", days_ago=31)
    young = await add_context(world, "done", days_ago=29)
    used = await add_context(world, "busy", days_ago=31)
    await world.owner.execute(
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id) VALUES ('build', %s, 'busy', 1, '', 'busy:1', 'job')",
        (world.organization_id,),
    )

    await delete_old(world.control, KEPT)
    before = await contexts(world)
    await world.owner.execute("UPDATE build SET outcome = 'failed', finished_at = now()")
    await delete_old(world.control, KEPT)

    assert before == {young, used}
    assert await contexts(world) == {young}


async def test_a_report_about_an_image_goes_with_its_packages_once_no_build_has_the_image(
    world: World,
) -> None:
    await add_application(world, "a")
    for version, (digest, deleted) in enumerate((("kept", None), ("deleted", "now")), start=1):
        await world.owner.execute(
            "INSERT INTO build (build_id, organization_id, application_id, version, title,"
            " reference, make_job_id, outcome, finished_at, digest, image_deleted_at)"
            " VALUES (%s, %s, 'a', %s, '', '', '', 'succeeded', now(), %s, %s)",
            (digest, world.organization_id, version, digest, deleted),
        )
    for digest, age in (("kept", 31), ("deleted", 31), ("young", 29)):
        await world.owner.execute(
            "INSERT INTO image_report (organization_id, digest, reference, server_id, updated_at)"
            " VALUES (%s, %s, '', '', now() - %s)",
            (world.organization_id, digest, timedelta(days=age)),
        )
    await world.owner.execute(
        "INSERT INTO image_package (organization_id, digest, type, name, version)"
        " SELECT organization_id, digest, 'deb', 'openssl', '3' FROM image_report"
    )

    await delete_old(world.control, KEPT)

    left = await world.rows("SELECT digest FROM image_package ORDER BY 1")
    assert [row["digest"] for row in left] == ["kept", "young"]


async def test_messages_of_webhooks_go_as_events_do_sent_or_not(world: World) -> None:
    server = await world.add_server()
    await add_webhook(world, "http://10.0.0.1/")
    for days_ago in (8, 6, 9):
        job_id = await end_job(world, server.server_id)
        await world.owner.execute(
            "UPDATE webhook_delivery SET delivery_id = %s WHERE subject_id = %s",
            (id_of(days_ago), job_id),
        )
    await world.owner.execute(
        "UPDATE webhook_delivery SET due_at = NULL, delivered_at = now() WHERE subject_id = %s",
        (job_id,),
    )

    await delete_old(world.control, KEPT)

    [row] = await world.rows("SELECT delivery_id FROM webhook_delivery")
    assert row["delivery_id"][:7] == id_of(6)[:7]


async def test_accumulated_rows_are_deleted_in_batches_the_oldest_first(world: World) -> None:
    server = await world.add_server()
    jobs = [await add(world, server, days_ago=40 - number, ended=31) for number in range(5)]

    pauses, left = [], []
    for _ in range(3):
        pauses.append(await delete_old(world.control, KEPT, batch=2))
        left.append(await ids(world, "job"))

    assert left == [set(jobs[2:]), {jobs[4]}, set()]
    assert pauses[:2] == [BUSY_SECONDS, BUSY_SECONDS]


async def test_nothing_is_scanned_that_stays(world: World) -> None:
    server = await world.add_server()
    async with world.owner.transaction(force_rollback=True):
        await world.owner.execute("ALTER TABLE job DISABLE TRIGGER USER")
        await world.owner.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class,"
            " command, state, finished_at, max_failures, timeout_seconds)"
            " SELECT job_id_at(now()) || '-7000-8000-' || lpad(n::text, 12, '0'), %s, %s,"
            " 'image.tag', 1, 'quick', '{}', 'cancelled', now(), 1, 1"
            " FROM generate_series(1, 20000) n",
            (world.organization_id, server.server_id),
        )
        await world.owner.execute("ANALYZE job")

        rows = await world.rows(
            "EXPLAIN SELECT job_id FROM job"
            " WHERE job_id < (SELECT job_id_at(now() - interval '30 days'))"
            " AND finished_at < now() - interval '30 days' ORDER BY job_id LIMIT 500"
        )

    plan = "\n".join(str(row["QUERY PLAN"]) for row in rows)
    assert "Seq Scan" not in plan
    assert "job_pkey" in plan


async def test_an_id_of_a_moment_is_not_above_those_made_then(world: World) -> None:
    [row] = await world.rows("SELECT job_id_at(to_timestamp(1700000000.123)) AS id")

    assert row["id"] == "018bcfe5-687b"
    assert row["id"] < uuid7(1_700_000_000_123, bytes(10))
    assert row["id"] > uuid7(1_700_000_000_122, b"\xff" * 10)


@pytest.mark.parametrize("function", ["job_prune", "job_event_prune"])
async def test_nobody_but_control_may_forget(world: World, function: str) -> None:
    server = await world.add_server()
    statement = f"SELECT {function}(interval '1 day', 1)".encode()

    for connection in (world.api, await server.connection()):
        with pytest.raises(REFUSALS):
            await connection.execute(statement)


async def test_a_running_control_forgets(plane: Plane) -> None:
    world = plane.world
    server = await world.add_server()
    await add(world, server, days_ago=40, ended=31)

    async with plane.open_control():
        await wait_until(partial(has_no_job, world))


async def has_no_job(world: World) -> bool:
    return not await ids(world, "job")
