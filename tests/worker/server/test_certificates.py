"""A worker removes the certificates that it stored for its Engine once no registry needs them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.jobs.commands import ImagePull
from shared.vault import KeyRing
from tests.waiting import wait_until
from tests.world import EnrolledServer, World
from worker.jobs.engine_certificates import EngineCertificates, WrittenFiles
from worker.login import Login
from worker.registry_tls import RegistryTls
from worker.server.heartbeat import Presence
from worker.server.runtime import Runtime

HOST, ELSEWHERE = "registry.lan:5000", "other.lan:5000"
CA, OTHER_CA = "a CA\n", "another CA\n"
OFTEN = timedelta(seconds=0.1)


async def work(*_: object) -> Any:
    raise AssertionError


class Site:
    """A server whose worker stores certificates in a directory; it can be away and come back."""

    def __init__(self, world: World, enrolled: EnrolledServer, directory: Path) -> None:
        self.world, self.enrolled, self.directory = world, enrolled, directory

    async def add_registry(self, *, ca: str = CA, host: str = HOST, **columns: Any) -> str:
        registry_id = await self.world.add_registry(host=host)
        await self.change(registry_id, **{"ca_certificate": ca, "install_ca": True, **columns})
        return registry_id

    async def change(self, registry_id: str, **columns: Any) -> None:
        changes = ", ".join(f"{name} = %s" for name in columns)
        await self.world.owner.execute(
            f"UPDATE registry SET {changes} WHERE registry_id = %s".encode(),
            (*columns.values(), registry_id),
        )

    async def remove(self, registry_id: str) -> None:
        await self.world.owner.execute(
            "DELETE FROM registry WHERE registry_id = %s", (registry_id,)
        )

    async def use(self, registry_id: str, *, ca: str = CA, client: bool = False) -> None:
        """Store the certificates as a job with the registry's login does."""
        tls = RegistryTls(
            ca_certificate=ca,
            client_certificate="a certificate\n" if client else "",
            client_key=SecretStr("a key\n" if client else ""),
            install_ca=True,
            registry_id=registry_id,
        )
        login = Login(host=HOST, username="alice", secret=SecretStr("word"), tls=tls)
        await EngineCertificates(self.directory, self.written()).install(login)

    def written(self) -> WrittenFiles:
        return WrittenFiles.open(self.directory.with_name("certificates.json"))

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / HOST).glob("*"))

    @asynccontextmanager
    async def online(self, incarnation: str = "first") -> AsyncIterator[None]:
        """A worker that was just started sends heartbeats; at the end some have been answered."""
        functions = self.enrolled.functions(incarnation)
        runtime = Runtime(self.enrolled.enrolment, KeyRing([self.enrolled.key]), functions, work)
        certificates = _Counting(self.directory, self.written())
        presence = Presence(
            self.enrolled.enrolment,
            functions,
            runtime.attempts,
            runtime.stop_all,
            lambda: None,
            certificates=certificates,
            every=OFTEN,
            describe_every=OFTEN,
        )
        await presence.register("first", {})
        try:
            async with presence.sending_heartbeats():
                yield
                enough = certificates.times + 2
                await wait_until(lambda: certificates.times >= enough, seconds=60)
                await self._see_heartbeats()
        finally:
            await functions.close()

    async def _see_heartbeats(self) -> None:
        """Return once a whole heartbeat was sent and answered."""
        times: set[datetime] = set()

        async def has_seen_three() -> bool:
            times.update(row["seen_at"] for row in await self.world.rows("SELECT * FROM server"))
            return len(times) > 2

        await wait_until(has_seen_three, seconds=60)


class _Counting(EngineCertificates):
    """Certificates that count how often their files were looked for."""

    times = 0

    async def find(self) -> Any:
        self.times += 1
        return await super().find()


@pytest.fixture
async def site(world: World, tmp_path: Path) -> Site:
    return Site(world, await world.add_server(), tmp_path / "certs.d")


@pytest.mark.parametrize(
    "change",
    [
        {"install_ca": False},
        {"host": ELSEWHERE},
        {"ca_certificate": None},
        {"allowed_servers": ["another"]},
        None,
    ],
    ids=["switched off", "another host", "without the CA", "not allowed here", "removed"],
)
async def test_a_file_is_removed_once_its_registry_needs_it_no_more(
    site: Site, change: dict[str, Any] | None
) -> None:
    registry_id = await site.add_registry()
    await site.use(registry_id)

    async with site.online():
        pass
    needed = site.files()
    async with site.online("second"):
        if change is None:
            await site.remove(registry_id)
        else:
            await site.change(registry_id, **change)

    assert (needed, site.files()) == (["ca.crt"], [])


async def test_a_server_that_was_away_removes_its_files_when_it_is_back(site: Site) -> None:
    registry_id = await site.add_registry(
        client_certificate="a certificate\n",
        client_key="v1.x",
    )
    await site.use(registry_id, client=True)
    async with site.online():
        pass
    needed = site.files()
    await site.remove(registry_id)

    async with site.online("second"):
        pass

    assert needed == ["ca.crt", "client.cert", "client.key"]
    assert site.files() == []


@pytest.mark.parametrize("gone", [0, 1], ids=["that has written it", "that has not"])
async def test_the_same_ca_of_another_registry_at_the_host_stays(site: Site, gone: int) -> None:
    registries = [await site.add_registry() for _ in range(2)]
    await site.use(registries[0])
    await site.remove(registries[gone])

    async with site.online():
        pass
    with_one = site.files()
    async with site.online("second"):
        await site.remove(registries[1 - gone])

    assert (with_one, site.files()) == (["ca.crt"], [])


@pytest.mark.parametrize(
    "other",
    [{"ca": OTHER_CA}, {"host": ELSEWHERE}, {"install_ca": False}],
    ids=["another CA", "another host", "not installed"],
)
async def test_another_registry_keeps_no_file_that_it_does_not_need(
    site: Site, other: dict[str, Any]
) -> None:
    registry_id = await site.add_registry()
    await site.add_registry(**other)
    await site.use(registry_id)
    await site.remove(registry_id)

    async with site.online():
        pass

    assert site.files() == []


async def test_files_of_others_stay(site: Site) -> None:
    registry_id = await site.add_registry()
    await site.use(registry_id)
    by_hand = site.directory / HOST / "extra.crt"
    by_hand.write_text("by hand\n")
    changed = site.directory / HOST / "ca.crt"
    changed.write_text(changed.read_text() + "one more\n")
    await site.remove(registry_id)

    async with site.online():
        pass

    assert site.files() == ["ca.crt", "extra.crt"]


async def test_a_job_that_has_the_login_keeps_the_file_until_it_ends(
    site: Site, world: World
) -> None:
    registry_id = await site.add_registry()
    await site.use(registry_id)
    command = ImagePull(reference=f"{HOST}/team/app:1", registry_id=registry_id)
    job_id = await world.dispatch(site.enrolled, command)
    await site.remove(registry_id)

    async with site.online():
        pass
    while_running = site.files()
    await world.owner.execute("DELETE FROM job WHERE job_id = %s", (job_id,))
    async with site.online("second"):
        pass

    assert (while_running, site.files()) == (["ca.crt"], [])
