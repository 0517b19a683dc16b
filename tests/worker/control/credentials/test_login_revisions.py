"""An attempt stores with which logins it was made."""

from shared.jobs.commands import ComposeImage, ComposePull, ImageCopy, ImagePull
from tests.world import PULL, World


async def revisions(world: World, *registry_ids: str) -> dict[str, str]:
    """Return the present revisions of these registries' logins."""
    rows = await world.rows(
        "SELECT registry_id, login_revision FROM registry WHERE registry_id = ANY (%s)",
        list(registry_ids),
    )
    return {row["registry_id"]: row["login_revision"] for row in rows}


async def stored(world: World, job_id: str) -> list[dict[str, str] | None]:
    rows = await world.rows(
        "SELECT login_revisions FROM job_attempt WHERE job_id = %s ORDER BY attempt", job_id
    )
    return [row["login_revisions"] for row in rows]


async def test_an_attempt_stores_the_revision_of_its_login(world: World) -> None:
    server, registry_id = await world.add_server(), await world.add_registry()
    pull = ImagePull(reference=PULL.reference, registry_id=registry_id)

    job_id = await world.dispatch(server, pull, registry_id=registry_id)

    assert await stored(world, job_id) == [await revisions(world, registry_id)]


async def test_an_attempt_with_several_logins_stores_all_their_revisions(world: World) -> None:
    server = await world.add_server()
    one, other = await world.add_registry(), await world.add_registry(host="other.example")
    copy = ImageCopy(
        source="registry.example/team/app:1",
        reference="other.example/team/app:1",
        source_registry_id=one,
        registry_id=other,
    )
    images = tuple(
        ComposeImage(services=(host,), reference=f"{host}/team/app:2", registry_id=registry_id)
        for host, registry_id in (("registry.example", one), ("other.example", other))
    )
    compose = ComposePull(compose="services: {}", images=images)

    copied = await world.dispatch(server, copy, registry_id=other)
    composed = await world.dispatch(server, compose)

    both = await revisions(world, one, other)
    assert await stored(world, copied) == await stored(world, composed) == [both]


async def test_an_attempt_without_a_login_stores_none(world: World) -> None:
    job_id = await world.dispatch(await world.add_server(), PULL)

    assert await stored(world, job_id) == [None]
