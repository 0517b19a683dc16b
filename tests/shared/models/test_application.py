"""Applications as the schema guards them: of one organization, sealed, complete."""

import psycopg
import pytest
from psycopg.errors import CheckViolation, ForeignKeyViolation, UniqueViolation

from shared.ids import make_id
from tests.world import World

SEALED = "v1.0123456789abcdef.AAAA"


async def add_application(world: World, organization_id: str = "", app_name: str = "") -> str:
    """One of the world's organization, or of another; stored as the API's role stores it."""
    application_id = make_id()
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, 'My App', %s, '', '/', 'dockerfile', 'Dockerfile', '.')",
        (application_id, organization_id or world.organization_id, app_name or application_id),
    )
    return application_id


async def add_organization(world: World) -> str:
    other = make_id()
    await world.owner.execute("INSERT INTO organization VALUES (%s, 'theirs')", (other,))
    return other


@pytest.mark.parametrize(
    "flaw",
    [
        "env = 'A=1', env_names = '{A}'",
        "build_secrets = 'A=1', build_secret_names = '{A}'",
        f"env = '{SEALED}'",
        "env_names = '{A}'",
        f"build_secrets = '{SEALED}'",
        "git_token = 'in clear', git_url = 'u', git_host = 'h', git_username = 'u'",
        f"git_token = '{SEALED}'",
        f"git_token = '{SEALED}', git_url = 'u', git_host = 'h'",
        "git_url = 'u'",
        "source_type = 'git'",
        "source_type = 'docker'",
        "source_type = 'github'",
        "build_type = 'nixpacks'",
        "replicas = 0",
        "rollbacks_to_keep = -1",
        "last_version = -1",
    ],
)
async def test_an_application_that_contradicts_itself_cannot_be_stored(
    world: World, flaw: str
) -> None:
    await add_application(world)

    with pytest.raises(CheckViolation):
        await world.owner.execute(f"UPDATE application SET {flaw}".encode())


@pytest.mark.parametrize("column", ["registry_id", "build_registry_id", "rollback_registry_id"])
async def test_an_application_names_no_registry_of_others(world: World, column: str) -> None:
    registry_id = await world.add_registry()
    own = await add_application(world)
    foreign = await add_application(world, await add_organization(world))
    change = f"UPDATE application SET {column} = %s WHERE application_id = %s".encode()

    await world.owner.execute(change, (registry_id, own))

    with pytest.raises(ForeignKeyViolation):
        await world.owner.execute(change, (registry_id, foreign))
    with pytest.raises(ForeignKeyViolation):
        await world.owner.execute("DELETE FROM registry")


async def test_an_application_names_no_server_of_others(world: World) -> None:
    server = await world.enrol_server()
    other = await add_organization(world)
    foreign = await add_application(world, other)

    with pytest.raises(ForeignKeyViolation):
        await world.owner.execute(
            "UPDATE application SET build_server_id = %s", (server.server_id,)
        )
    for organization_id in (other, world.organization_id):
        with pytest.raises(ForeignKeyViolation):
            await world.owner.execute(
                "INSERT INTO application_server VALUES (%s, %s, %s)",
                (foreign, server.server_id, organization_id),
            )


async def test_an_app_name_is_unique_in_its_organization_in_whatever_case(world: World) -> None:
    await add_application(world, app_name="web")
    await add_application(world, await add_organization(world), app_name="web")

    with pytest.raises(UniqueViolation):
        await add_application(world, app_name="Web")


async def test_an_applications_servers_go_with_it(world: World) -> None:
    server = await world.enrol_server()
    application_id = await add_application(world)
    await world.owner.execute(
        "INSERT INTO application_server VALUES (%s, %s, %s)",
        (application_id, server.server_id, world.organization_id),
    )

    await world.owner.execute("DELETE FROM application")

    assert await world.rows("SELECT 1 FROM application_server") == []


async def test_control_reads_what_is_sealed_to_it_and_a_server_nothing(world: World) -> None:
    server = await world.add_server()
    await add_application(world)
    await world.owner.execute("UPDATE application SET env = %s, env_names = '{A}'", (SEALED,))

    rows = await (await world.control.execute("SELECT env FROM application")).fetchall()

    assert rows == [{"env": SEALED}]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await (await server.connection()).execute("SELECT 1 FROM public.application")
