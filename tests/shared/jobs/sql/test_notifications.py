"""Notifications are sent when a job ends, and forged ones change nothing."""

import pytest

from shared.jobs.store.cancel import cancel
from tests.world import World


async def test_a_client_that_waits_for_a_job_is_notified_of_its_end(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.submit(enrolled)
    await world.api.execute("LISTEN wharf_job")

    await cancel(world.control, job_id, world.organization_id, "not wanted")

    async for notification in world.api.notifies(timeout=5, stop_after=1):
        assert notification.payload == job_id
        return
    pytest.fail("nobody was notified")


async def test_anybody_may_send_junk_as_a_notification_and_it_changes_nothing(world: World) -> None:
    enrolled = await world.add_server()
    job_id = await world.dispatch(enrolled)
    before = await world.job(job_id)
    forger = await (await world.add_server()).connection()

    for channel in (
        "wharf_release",
        "wharf_deployment",
        "wharf_job",
        "wharf_heartbeat",
        "wharf_progress",
    ):
        for payload in ("", job_id, "'; DROP TABLE job; --", "x" * 7000):
            await forger.execute("SELECT pg_notify(%s, %s)", (channel, payload))

    assert await world.job(job_id) == before


# Servers and organizations
