"""Webhooks hear of certificates that are due or have expired, once for each certificate."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from tests.worker.control.maintenance.test_credential_events import sent_events, subscribe
from tests.world import World
from worker.control.maintenance.credential_events import record_events

EVENTS = ["certificate.due", "certificate.expired"]


def certificate(name: str, use: str = "ca", **time_left: float) -> dict[str, Any]:
    """Return the description of a certificate that ends after this time."""
    ends = datetime.now(UTC) + timedelta(**time_left)
    return {"use": use, "subject": f"CN={name}", "sha256": name, "not_after": ends.isoformat()}


async def add_registry(world: World, *certificates: dict[str, Any]) -> str:
    registry_id = await world.add_registry()
    await store(world, *certificates)
    return registry_id


async def store(world: World, *certificates: dict[str, Any]) -> None:
    await world.owner.execute("UPDATE registry SET certificates = %s", (Jsonb(certificates),))


async def sent_names(world: World) -> list[tuple[str, str]]:
    return sorted((event["event"], event["sha256"]) for event in await sent_events(world))


async def test_a_certificate_that_is_due_is_told_once_with_its_end(world: World) -> None:
    await subscribe(world, *EVENTS)
    due = certificate("ours", days=29)
    registry_id = await add_registry(world, due, certificate("next", days=31))

    for _ in range(2):
        await record_events(world.control)

    [event] = await sent_events(world)
    ends = event.pop("notAfter")
    assert datetime.fromisoformat(ends) - datetime.fromisoformat(due["not_after"]) < timedelta(
        milliseconds=1
    )
    assert event == {
        "event": "certificate.due",
        "registryId": registry_id,
        "registryName": "ours",
        "host": "registry.example",
        "use": "ca",
        "subject": "CN=ours",
        "sha256": "ours",
    }


async def test_a_certificate_that_expires_is_told_again(world: World) -> None:
    await subscribe(world, *EVENTS)
    await add_registry(world, certificate("robot", "client", days=1))
    await record_events(world.control)
    await store(world, certificate("robot", "client", seconds=-1))

    for _ in range(2):
        await record_events(world.control)

    assert await sent_names(world) == [
        ("certificate.due", "robot"),
        ("certificate.expired", "robot"),
    ]


async def test_a_certificate_that_has_expired_long_ago_is_not_due_any_more(world: World) -> None:
    await subscribe(world, *EVENTS)
    await add_registry(world, certificate("old", days=-400))

    await record_events(world.control)

    assert await sent_names(world) == [("certificate.expired", "old")]


async def test_the_next_certificate_of_the_registry_is_told_again(world: World) -> None:
    await subscribe(world, *EVENTS)
    await add_registry(world, certificate("first", days=3))
    await record_events(world.control)
    await store(world, certificate("second", days=5))

    await record_events(world.control)

    assert await sent_names(world) == [
        ("certificate.due", "first"),
        ("certificate.due", "second"),
    ]


async def test_one_certificate_of_two_registries_is_told_for_each(world: World) -> None:
    await subscribe(world, *EVENTS)
    await world.add_registry()
    await add_registry(world, certificate("shared", days=3))

    await record_events(world.control)

    assert await sent_names(world) == [("certificate.due", "shared")] * 2


async def test_replicas_tell_it_once(world: World) -> None:
    await subscribe(world, *EVENTS)
    await add_registry(world, certificate("ours", days=3), certificate("theirs", days=-3))
    controls = [await world.connect("wharf_control") for _ in range(3)]

    await asyncio.gather(*(record_events(control) for control in controls))

    assert await sent_names(world) == [
        ("certificate.due", "ours"),
        ("certificate.expired", "theirs"),
    ]
