"""Keys of Google that an earlier version stored as passwords: control keeps them from servers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.credentials.google import GoogleSource
from shared.credentials.kinds import parse_source, source_context
from shared.database import Pool, open_pool
from shared.ids import make_id
from shared.vault import SealContext
from tests.fakes.providers.google import ServiceAccount
from tests.world import World
from worker.control.credentials.google_keys import GoogleKeys, keep_google_keys

ACCOUNT = ServiceAccount()


@pytest.fixture
async def pool(world: World) -> AsyncIterator[Pool]:
    async with open_pool(world.database.url("wharf_control")) as pool:
        yield pool


async def store(world: World, password: str, *, host: str = "gcr.io") -> str:
    """Store a password as an earlier version did."""
    registry_id = make_id()
    context = SealContext("credential", world.organization_id, registry_id, host, "_json_key")
    await world.api.execute(
        "INSERT INTO registry (registry_id, organization_id, registry_name, username, password,"
        " registry_url, registry_type, host)"
        " VALUES (%s, %s, 'g', '_json_key', %s, %s, 'cloud', %s)",
        (
            registry_id,
            world.organization_id,
            world.vault.public.seal(password, context),
            host,
            host,
        ),
    )
    return registry_id


async def row_of(world: World, registry_id: str) -> tuple[Any, ...]:
    cursor = await world.owner.execute(
        "SELECT r.username, r.password IS NULL AS empty, s.shown, s.sealed FROM registry r"
        " LEFT JOIN credential_source s USING (registry_id) WHERE registry_id = %s",
        (registry_id,),
    )
    row = await cursor.fetchone()
    assert row is not None
    return tuple(row.values())


async def test_a_key_becomes_a_source_that_shows_the_same_username(
    world: World, pool: Pool
) -> None:
    registry_id = await store(world, ACCOUNT.text)

    await keep_google_keys(pool, world.keys)
    await keep_google_keys(pool, world.keys)  # a second control finds nothing to do

    username, is_empty, shown, sealed = await row_of(world, registry_id)
    assert (username, is_empty) == ("oauth2accesstoken", True)
    assert shown == {"kind": "google", "service_account": ACCOUNT.email, "username": "_json_key"}
    context = source_context(world.organization_id, registry_id, "gcr.io")
    source = parse_source(world.keys.open(sealed, context))
    assert isinstance(source, GoogleSource) and source.service_account_key is not None
    assert source.service_account_key.get_secret_value() == ACCOUNT.text


@pytest.mark.parametrize(
    ("password", "host"),
    [("<service-account-json>", "gcr.io"), (ACCOUNT.text, "registry.example.com")],
)
async def test_another_password_stays_as_it_is(
    world: World, pool: Pool, password: str, host: str
) -> None:
    registry_id = await store(world, password, host=host)

    await keep_google_keys(pool, world.keys)

    assert (await row_of(world, registry_id))[:3] == ("_json_key", False, None)


async def test_a_password_of_a_lost_vault_key_ends_nothing(world: World, pool: Pool) -> None:
    registry_id = await store(world, ACCOUNT.text)
    await world.owner.execute("UPDATE registry SET password = 'v1.0000000000000000.AAAA'")

    await keep_google_keys(pool, world.keys)

    assert (await row_of(world, registry_id))[0] == "_json_key"


async def test_keys_are_looked_for_once_an_hour(world: World, pool: Pool) -> None:
    keys = GoogleKeys(world.keys)

    seconds = await keys.keep(pool)
    late = await store(world, ACCOUNT.text)
    await keys.keep(pool)

    assert 3590 < seconds <= 3600
    assert (await row_of(world, late))[0] == "_json_key"
