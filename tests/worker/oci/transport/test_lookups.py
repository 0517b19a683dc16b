"""Look-ups of names that hang, beside others."""

import asyncio
import socket
import threading
from datetime import timedelta

import pytest

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.networks import parse_networks
from worker.oci.transport.address import SystemResolver, resolve
from worker.oci.transport.lookups import LookUps


class Table:
    """A blocking look-up: names that begin with ``silent`` hang until the end of the test."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end = threading.Event()

    def look_up(self, hostname: str) -> tuple[str, ...]:
        self.asked.append(hostname)
        if hostname.startswith("silent"):
            self.end.wait(30)
        if hostname.startswith("missing"):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return ("127.0.0.1",)


@pytest.fixture
def table() -> Table:
    return Table()


async def test_silent_names_hold_up_no_other_name(table: Table) -> None:
    lookups = LookUps(table.look_up)
    silent = [asyncio.create_task(lookups.find(f"silent-{number}")) for number in range(20)]
    try:
        async with asyncio.timeout(5):
            found = await lookups.find("good")
    finally:
        table.end.set()
        await asyncio.gather(*silent)

    assert found == ("127.0.0.1",)


async def test_look_ups_of_one_name_are_one(table: Table) -> None:
    lookups = LookUps(table.look_up)
    asking = [asyncio.create_task(lookups.find("silent")) for _ in range(10)]
    await asyncio.sleep(0)
    table.end.set()

    assert await asyncio.gather(*asking) == [("127.0.0.1",)] * 10
    assert table.asked == ["silent"]


async def test_a_caller_that_gives_up_leaves_the_look_up_to_the_others(table: Table) -> None:
    lookups = LookUps(table.look_up)
    impatient = asyncio.create_task(lookups.find("silent"))
    patient = asyncio.create_task(lookups.find("silent"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})
    table.end.set()

    assert await patient == ("127.0.0.1",) and impatient.cancelled()
    assert await lookups.find("silent") == ("127.0.0.1",)
    assert table.asked == ["silent", "silent"]


async def test_a_failed_look_up_is_raised_and_not_kept(table: Table) -> None:
    lookups = LookUps(table.look_up)

    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await lookups.find("missing")

    assert len(table.asked) == 2


async def test_a_name_waits_while_every_thread_is_busy(table: Table) -> None:
    lookups = LookUps(table.look_up, max_threads=1)
    first = asyncio.create_task(lookups.find("silent"))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await lookups.find("good")
    table.end.set()

    assert await lookups.find("good") == await first


async def test_the_machines_resolver_names_a_missing_name() -> None:
    with pytest.raises(RegistryError) as caught:
        await resolve(
            "no-such-name.invalid", parse_networks("public"), SystemResolver(), timedelta(seconds=5)
        )

    assert caught.value.code in {FaultCode.DNS_NOT_FOUND, FaultCode.DNS_FAILURE}
    assert "EAI" not in f"{caught.value.message} {caught.value.evidence}"
