"""Webhooks hear of credentials that are due, refused or expired, once for each."""

import asyncio
from typing import Any

from shared.ids import make_id
from tests.world import World
from worker.control.maintenance.credential_events import record_events

EVENTS = ["credential.due", "credential.refused", "credential.expired"]


async def subscribe(world: World, *events: str) -> None:
    await world.api.execute(
        "INSERT INTO webhook (webhook_id, organization_id, url, events, secret)"
        " VALUES (%s, %s, 'https://example.com/', %s, 'v1.x')",
        (make_id(), world.organization_id, list(events or EVENTS)),
    )


async def sent_events(world: World) -> list[dict[str, Any]]:
    rows = await world.rows("SELECT event, payload FROM webhook_delivery ORDER BY event")
    return [{"event": row["event"], **row["payload"]["data"]} for row in rows]


async def refuse(world: World, server: str) -> None:
    await world.owner.execute(
        "SELECT login_record(registry_id, login_revision, 'refused', %s, now(),"
        " 'auth_bad_credentials', 'job') FROM registry",
        (server,),
    )


async def make_due(world: World) -> None:
    await world.owner.execute(
        "UPDATE registry SET password_changed_at = now() - interval '91 days'"
    )


async def test_nothing_is_told_of_a_credential_that_works(world: World) -> None:
    await subscribe(world)
    await world.add_registry()

    await record_events(world.control)

    assert await sent_events(world) == []


async def test_a_credential_that_is_due_is_told_once(world: World) -> None:
    await subscribe(world)
    registry_id = await world.add_registry()
    await make_due(world)

    for _ in range(2):
        await record_events(world.control)

    [event] = await sent_events(world)
    assert (event["event"], event["registryId"]) == ("credential.due", registry_id)
    assert "v1." not in str(event)


async def test_the_next_credential_is_told_again(world: World) -> None:
    await subscribe(world)
    await world.add_registry()
    await make_due(world)
    await record_events(world.control)
    await world.owner.execute("UPDATE registry SET login_revision = 'next'")

    await record_events(world.control)

    assert len(await sent_events(world)) == 2


async def test_a_refused_credential_is_told_with_those_who_were_refused(world: World) -> None:
    await subscribe(world)
    await world.add_registry()
    await refuse(world, "first")
    await record_events(world.control)
    assert await sent_events(world) == []

    await refuse(world, "control")
    await record_events(world.control)

    [event] = await sent_events(world)
    assert event["event"] == "credential.refused"
    assert [(one["serverId"], one["times"]) for one in event["refusals"]] == [
        (None, 1),
        ("first", 1),
    ]


async def test_an_expired_token_is_told(world: World) -> None:
    await subscribe(world)
    await world.add_registry()
    await world.owner.execute(
        "UPDATE registry SET password_expires_at = now() - interval '1 minute'"
    )

    await record_events(world.control)

    assert [event["event"] for event in await sent_events(world)] == ["credential.expired"]


async def test_replicas_tell_it_once(world: World) -> None:
    await subscribe(world)
    await world.add_registry()
    await make_due(world)
    controls = [await world.connect("wharf_control") for _ in range(3)]

    await asyncio.gather(*(record_events(control) for control in controls))

    assert len(await sent_events(world)) == 1


async def test_an_endpoint_for_other_events_hears_nothing(world: World) -> None:
    await subscribe(world, "credential.expired")
    await world.add_registry()
    await make_due(world)

    await record_events(world.control)

    assert await sent_events(world) == []
