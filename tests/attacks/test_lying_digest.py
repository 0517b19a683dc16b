"""A worker that lies about the digest of what it pushed: nobody is shown its text."""

import pytest
from psycopg.types.json import Jsonb

from shared.ids import make_id
from tests.world import World
from worker.control.maintenance.builds import reconcile_builds

GOOD, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
LIES = [
    "sha256:$(touch /tmp/pwn)\x1b[2J",
    "\x1b]0;pwn\x07",
    GOOD.upper(),
    f"{GOOD}\n",
    f"{GOOD} {OTHER}",
    "sha512:" + "a" * 64,
    "",
    {"digest": GOOD},
    [GOOD],
    5,
]


async def end_build(world: World, *, pushed: object, copied: object = GOOD) -> str:
    """A build whose three jobs have succeeded, with what the worker said of its image."""
    server = await world.add_server()
    application_id = make_id()
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, 'app', %s, '', '/', 'dockerfile', 'Dockerfile', '.')",
        (application_id, world.organization_id, application_id),
    )
    jobs = []
    results = {
        "image.build": {"revision": "\x1b[31mmain"},
        "image.push": {"digest": pushed},
        "image.copy": {"digest": copied},
    }
    await world.owner.execute("ALTER TABLE job DISABLE TRIGGER USER")
    for kind, result in results.items():
        jobs.append(make_id())
        await world.owner.execute(
            "INSERT INTO job (job_id, organization_id, server_id, kind, version, job_class, state,"
            " command, result, attempt, max_failures, timeout_seconds, finished_at)"
            " VALUES (%s, %s, %s, %s, 1, 'transfer', 'succeeded', '{}', %s, 1, 1, 1, now())",
            (jobs[-1], world.organization_id, server.server_id, kind, Jsonb(result)),
        )
    await world.owner.execute("ALTER TABLE job ENABLE TRIGGER USER")
    await world.owner.execute(
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id, push_job_id, retain_job_id) VALUES (%s, %s, %s, 1, '', 'r/a:1', %s, %s, %s)",
        (jobs[0], world.organization_id, application_id, *jobs),
    )
    return jobs[0]


@pytest.mark.parametrize("place", ["pushed", "copied"])
async def test_a_build_whose_digest_is_none_fails_and_keeps_nothing_of_it(
    world: World, place: str
) -> None:
    builds = [await end_build(world, **{"pushed": GOOD, place: lie}) for lie in LIES]

    await reconcile_builds(world.control)

    rows = await world.rows("SELECT * FROM build")
    assert {row["build_id"] for row in rows} == set(builds)
    assert {(row["outcome"], row["error"]["code"]) for row in rows} == {
        ("failed", "digest_unreadable")
    }
    assert {row["revision"] for row in rows} == {None}
    assert "\x1b" not in str(rows) and "pwn" not in str(rows)


async def test_builds_whose_digests_are_such_end_as_they_should(world: World) -> None:
    good = await end_build(world, pushed=GOOD)
    other = await end_build(world, pushed=GOOD, copied=OTHER)

    await reconcile_builds(world.control)

    rows = await world.rows("SELECT build_id, outcome, digest, error->>'code' AS code FROM build")
    assert {tuple(row.values()) for row in rows} == {
        (good, "succeeded", GOOD, None),
        (other, "failed", GOOD, "digest_mismatch"),
    }
