"""Retention by control's statements and the server's handler, at a real registry."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import UnmetConditionError
from shared.ids import make_id
from shared.reference import parse_reference
from tests.worker.control.retention_scenario import REPOSITORY, RetentionScenario, add_application
from tests.worker.oci.sample_images import RepositoryFixture, digest_of, make_image, make_index
from tests.worker.parts import open_tools
from tests.world import World
from worker.control.image_usage import MAX_CLAIMS, read_known, recheck
from worker.control.maintenance.rollback_points import reconcile_points
from worker.local.registry import LocalRegistry

ONE, TWO = make_image(b"retained one"), make_image(b"retained two")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    started = LocalRegistry.start(tmp_path_factory.mktemp("registry"))
    yield started
    started.stop()


@pytest.fixture
async def scenario(
    world: World, registry: LocalRegistry, tmp_path: Path
) -> AsyncIterator[RetentionScenario]:
    """An application of two builds, of which the second runs, and an empty repository."""
    server = await world.add_server()
    registry_id = await world.add_registry(host=registry.host)
    application_id = await add_application(world, world.organization_id, "shop")
    async with open_tools(tmp_path) as tools:
        yield RetentionScenario(
            world,
            server,
            registry_id,
            registry.host,
            tools,
            application_id,
            world.organization_id,
        )
    depot = RepositoryFixture(registry.host, REPOSITORY)
    for image in (ONE, TWO):
        await depot.delete(image.digest)


async def begin(scenario: RetentionScenario) -> tuple[str, str]:
    """Build 1 has run and has a rollback point; something else runs. Gives build and point."""
    one = await scenario.build(ONE, "v1")
    await scenario.deploy(ONE, one)
    two = await scenario.build(TWO, "v2")
    await scenario.deploy(TWO, two)
    return one, await scenario.point(ONE, one)


async def test_bytes_that_nothing_else_needs_go_and_the_build_says_so(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and (result["outcome"], result["wasThere"]) == ("deleted", True)
    assert not await scenario.has(ONE.digest) and await scenario.has("v2")
    assert (await scenario.row(build_id))["image_deleted_at"] is not None
    assert await scenario.points() == []


async def test_after_a_restore_nothing_is_deleted_until_jobs_may_run(
    scenario: RetentionScenario,
) -> None:
    _, point = await begin(scenario)
    await scenario.drop(point)
    await scenario.world.owner.execute("SELECT database_restored()")

    waited = await scenario.retain()
    await scenario.world.owner.execute(
        "SELECT organization_resume(%s)", (scenario.organization_id,)
    )
    result = await scenario.retain()

    assert waited is None
    assert result and result["outcome"] == "deleted"


async def test_another_build_of_the_same_digest_keeps_it_and_can_be_deployed(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    again = await scenario.build(ONE, "v3")
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and result["outcome"] == "kept"
    assert result["reasons"][0] == "build 3 of shop needs it"
    assert await scenario.has("v1") and await scenario.has("v3")
    for each in (build_id, again):
        assert (await scenario.row(each))["image_deleted_at"] is None
    # The point alone goes.
    assert await scenario.points() == []
    assert await scenario.retain() is None


async def test_a_foreign_tag_stays_where_no_point_is_kept(scenario: RetentionScenario) -> None:
    _, _ = await begin(scenario)
    await scenario.depot.put("stable", ONE)
    await scenario.keep(0)

    result = await scenario.retain()

    assert result and result["reasons"] == ["the tag stable names it"]
    assert await scenario.has("v1") and await scenario.has("stable")
    assert await scenario.points() == []


async def test_a_point_of_another_application_is_waited_for(scenario: RetentionScenario) -> None:
    _, point = await begin(scenario)
    other = await site(scenario, scenario.organization_id)
    theirs = await other.point(ONE, await other.build(ONE, "site-1"))
    await scenario.drop(point)

    waited = await scenario.retain()
    await scenario.drop(theirs)
    result = await scenario.retain()

    assert waited is None
    assert result and result["outcome"] == "deleted"
    assert await scenario.points() == await other.points() == []


async def site(scenario: RetentionScenario, organization_id: str) -> RetentionScenario:
    """Another application with images in the same repository."""
    application_id = await add_application(scenario.world, organization_id, "site")
    return replace(scenario, application_id=application_id, organization_id=organization_id)


@pytest.mark.parametrize("outcome", ["succeeded", None])
async def test_an_image_that_another_application_runs_or_will_run_stays(
    scenario: RetentionScenario, outcome: str | None
) -> None:
    _, point = await begin(scenario)
    other = await site(scenario, scenario.organization_id)
    await other.deploy(ONE, await other.build(ONE, "site-1"), outcome=outcome)
    await scenario.drop(point)

    assert await scenario.retain() is None
    assert len(await scenario.points()) == 1


async def test_an_image_that_another_organization_needs_stays_and_is_not_named(
    scenario: RetentionScenario,
) -> None:
    _, point = await begin(scenario)
    organization_id = make_id()
    await scenario.world.owner.execute(
        "INSERT INTO organization (organization_id, name) VALUES (%s, 'theirs')",
        (organization_id,),
    )
    other = await site(scenario, organization_id)
    build_id = await other.build(ONE, "site-1")
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and result["reasons"][0] == "another organization needs it"
    assert (await other.row(build_id))["image_deleted_at"] is None
    assert await scenario.has(ONE.digest)


async def test_a_deletion_waits_for_a_failed_deployment_that_may_restore_the_image(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    await scenario.deploy(TWO, build_id, outcome="failed")
    await scenario.drop(point)

    meanwhile = await scenario.retain()
    await scenario.world.owner.execute(
        "UPDATE deployment SET finished_at = now() - interval '2 hours'"
    )
    result = await scenario.retain()

    assert meanwhile is None
    assert result and result["outcome"] == "deleted"


async def test_a_deletion_waits_for_a_build_that_may_push_the_image(
    scenario: RetentionScenario,
) -> None:
    _, point = await begin(scenario)
    other = await site(scenario, scenario.organization_id)
    await other.build(ONE, "site-1", outcome=None)
    await scenario.drop(point)

    assert await scenario.retain() is None


async def test_an_application_that_names_the_digest_keeps_it(scenario: RetentionScenario) -> None:
    _, point = await begin(scenario)
    other = await site(scenario, scenario.organization_id)
    await scenario.world.owner.execute(
        "UPDATE application SET docker_image = %s WHERE application_id = %s",
        (f"{scenario.place}:any@{ONE.digest}", other.application_id),
    )
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and result["reasons"] == ["the application site needs it"]


async def test_an_index_that_another_build_has_made_stays_whole_without_its_tag(
    scenario: RetentionScenario,
) -> None:
    _, point = await begin(scenario)
    index = make_index(ONE, TWO)
    await scenario.build(index, "multi")
    await scenario.depot.put("multi", TWO)
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and result["reasons"] == [f"the index {index.digest} lists it"]
    await scenario.depot.require(index.digest, index)
    await scenario.depot.delete(index.digest)


async def test_a_retained_copy_goes_and_the_build_can_still_be_deployed(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    await scenario.world.owner.execute(
        "UPDATE build SET reference = 'build.example/team/shop:v1', retained = %s"
        " WHERE build_id = %s",
        (f"{scenario.place}:v1", build_id),
    )
    await scenario.drop(point)

    result = await scenario.retain()

    assert result and result["outcome"] == "deleted"
    row = await scenario.row(build_id)
    assert (row["image_deleted_at"], row["retained"]) == (None, None)


async def test_a_deployment_requested_after_the_submission_is_seen_at_the_release(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    await scenario.drop(point)
    await reconcile_points(scenario.world.control)
    await scenario.deploy(ONE, build_id, outcome=None)

    [job] = await scenario.world.release()
    with pytest.raises(UnmetConditionError) as caught:
        await recheck(scenario.world.control, job)

    assert caught.value.code == "image_in_use"
    assert "a deployment of shop still needs it" in caught.value.message


async def test_a_deletion_is_not_asked_for_while_a_deployment_is_being_stored(
    scenario: RetentionScenario,
) -> None:
    _, point = await begin(scenario)
    await scenario.drop(point)

    async with scenario.world.api.transaction():
        await scenario.world.api.execute(
            "SELECT FROM application WHERE application_id = %s FOR UPDATE",
            (scenario.application_id,),
        )
        await reconcile_points(scenario.world.control)
        meanwhile = await scenario.world.rows("SELECT FROM job")

    assert meanwhile == []
    assert await scenario.retain() is not None


async def test_an_image_that_one_server_found_missing_is_gone_for_abandoned_builds(
    scenario: RetentionScenario,
) -> None:
    build_id, point = await begin(scenario)
    again = await scenario.build(ONE, "v3")
    await scenario.drop(point)
    await reconcile_points(scenario.world.control)
    [job] = await scenario.world.release()
    called = {"job_id": job.job_id, "attempt": job.attempt}
    await scenario.server.call("claim", "first", **called)
    reported = {"reference": "x", "digest": ONE.digest, "wasThere": True, "outcome": "deleted"}

    await scenario.server.call("finish", "first", **called, outcome="succeeded", result=reported)
    await reconcile_points(scenario.world.control)

    assert (await scenario.row(build_id))["image_deleted_at"] is not None
    assert (await scenario.row(again))["image_deleted_at"] is None


async def test_more_claims_than_are_read_keep_the_image(scenario: RetentionScenario) -> None:
    build_id, point = await begin(scenario)
    await scenario.drop(point)
    await scenario.world.owner.execute(
        "INSERT INTO build (build_id, organization_id, application_id, version, title, reference,"
        " make_job_id, outcome, digest, finished_at)"
        " SELECT 'many-' || n, organization_id, application_id, 100 + n, '', reference, 'none',"
        " outcome, digest, now() FROM build, generate_series(1, %s) n WHERE build_id = %s",
        (MAX_CLAIMS, build_id),
    )
    image = parse_reference(f"{scenario.place}@{ONE.digest}")

    known = await read_known(scenario.world.control, image, scenario.organization_id)

    assert known.needs[-1].name == f"one of more than {MAX_CLAIMS} rows"


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("host:5000/team/app", "host:5000/team/app"),
        ("host:5000/team/app:v1", "host:5000/team/app"),
        (f"host:5000/team/app@{digest_of(b'')}", "host:5000/team/app"),
        (f"docker.io/library/app:v1@{digest_of(b'')}", "docker.io/library/app"),
    ],
)
async def test_the_database_reads_a_place_as_we_do(
    world: World, reference: str, place: str
) -> None:
    [row] = await world.rows("SELECT repository_of(%s) AS place", reference)

    assert row["place"] == parse_reference(reference).name == place
