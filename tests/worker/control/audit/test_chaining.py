"""Entries get their places without gaps, whatever runs at the same time."""

import asyncio

import psycopg
import pytest

from shared.database import open_pool
from tests.worker.control.audit.log import add_entries, chain, verify
from tests.world import World
from worker.control.audit import chaining
from worker.control.audit.chaining import chain_entries


async def test_replicas_place_entries_once_and_without_a_gap(world: World) -> None:
    url = world.database.url("wharf_control")
    await add_entries(world, 30)

    async def place() -> None:
        async with open_pool(url, size=1) as pool, pool.connection() as connection:
            for _ in range(5):
                await chain_entries(connection)

    await asyncio.gather(place(), place(), place(), add_entries(world, 20))
    await chain(world)

    found = await verify(world)
    assert (found.findings, found.entries) == ([], 50)


async def test_each_organization_has_its_own_chain(world: World) -> None:
    await world.owner.execute("INSERT INTO organization VALUES ('other', 'Other')")
    await add_entries(world, 2)
    await add_entries(world, 3, "other")
    await chain(world)

    assert await world.rows("SELECT sequence FROM audit_chain ORDER BY sequence") == [
        {"sequence": 2},
        {"sequence": 3},
    ]
    assert (await verify(world)).findings == []


async def test_a_change_waits_for_no_other_change_of_its_organization(world: World) -> None:
    """Its entry gets its place after the commit: no lock is held until then."""
    async with world.control.transaction():
        await world.control.execute(
            "INSERT INTO audit_event (audit_event_id, organization_id, action)"
            " VALUES ('open', %s, 'x')",
            (world.organization_id,),
        )
        await asyncio.wait_for(add_entries(world, 1), 5)
        async with world.database.session("wharf_control") as other:
            await asyncio.wait_for(chain_entries(other), 5)
    await chain(world)

    found = await verify(world)
    assert (found.findings, found.entries) == ([], 2)


async def test_more_entries_than_a_batch_are_placed_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaining, "BATCH", 2)
    await add_entries(world, 3)

    assert await chain_entries(world.control) == 0.0
    assert await chain_entries(world.control) is None
    assert (await verify(world)).entries == 3


async def test_an_entry_cannot_bring_its_own_place_or_time(world: World) -> None:
    await world.control.execute(
        "INSERT INTO audit_event (audit_event_id, organization_id, action, at, sequence,"
        " previous_hash, hash) VALUES ('x', %s, 'x', '2001-01-01', 1, '', '')",
        (world.organization_id,),
    )

    assert await world.rows(
        "SELECT sequence, hash, at > now() - interval '1 minute' AS is_new FROM audit_event"
    ) == [{"sequence": None, "hash": None, "is_new": True}]


async def test_control_changes_no_entry_that_has_its_place(world: World) -> None:
    await add_entries(world, 1)
    await chain(world)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.control.execute("UPDATE audit_event SET sequence = 2")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.control.execute("UPDATE audit_event SET action = 'x'")
