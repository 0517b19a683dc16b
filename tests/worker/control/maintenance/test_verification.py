"""Control asks the registry itself whether it has the digest that a worker says it pushed."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from psycopg.types.json import Jsonb

from shared.database import Pool, open_pool
from shared.jobs.commands import ImageCopy, ImagePush
from shared.networks import parse_networks
from tests.fakes.registry import Repository
from tests.fakes.web import Answer, Fake, open_fake, says
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from tests.world import PASSWORD, EnrolledServer, World
from worker.control.maintenance.verification import BATCH, Verification
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings

IMAGE = make_image(b"layer")
ALICE = f"Basic {base64.b64encode(f'alice:{PASSWORD}'.encode()).decode()}"
LIE = f"sha256:{'b' * 64}"
LOOPBACK = ConnectionSettings(parse_networks("loopback"))


@pytest.fixture
async def pool(world: World) -> AsyncIterator[Pool]:
    async with open_pool(world.database.url("wharf_control")) as pool:
        yield pool


@dataclass(frozen=True)
class Verifier:
    """The service, run by hand."""

    pool: Pool
    verification: Verification

    async def verify(self) -> float:
        return await self.verification.verify(self.pool)


@pytest.fixture
def verification(world: World, pool: Pool) -> Verifier:
    return Verifier(pool, Verification(world.keys, LOOPBACK))


@asynccontextmanager
async def open_registry() -> AsyncIterator[Fake]:
    """A registry that holds `IMAGE` and lets only alice in."""
    repository = Repository()
    repository.put(IMAGE, "1")

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != ALICE:
            return web.json_response(
                {}, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}
            )
        return await repository.answer(request)

    async with open_fake(answer) as fake:
        yield fake


async def push(
    world: World, server: EnrolledServer, host: str, digest: str, *, copies: bool = False
) -> str:
    """A push, or a copy, that ended with the digest that its worker reports."""
    registry_id = await world.add_registry(host=host)
    reference = f"{host}/team/app:1"
    command = (
        ImageCopy(source=reference, reference=reference, registry_id=registry_id)
        if copies
        else ImagePush(source="app:1", reference=reference, registry_id=registry_id)
    )
    job_id = await world.run(server, command=command, registry_id=registry_id)
    await server.call(
        "finish",
        "first",
        job_id=job_id,
        attempt=1,
        outcome="succeeded",
        result={"reference": reference, "digest": digest, "verifiedBy": "control"},
    )
    assert await world.state(job_id) == "succeeded"
    return job_id


async def outcomes(world: World) -> dict[str, tuple[str, str | None]]:
    rows = await world.rows("SELECT job_id, outcome, code FROM digest_check")
    return {row["job_id"]: (row["outcome"], row["code"]) for row in rows}


@pytest.mark.parametrize("copies", [False, True], ids=["push", "copy"])
async def test_a_digest_that_the_registry_has_is_verified(
    world: World, verification: Verifier, *, copies: bool
) -> None:
    server = await world.add_server()
    async with open_registry() as registry:
        job_id = await push(world, server, registry.host, IMAGE.digest, copies=copies)

        await verification.verify()
        requested = len(registry.requests)
        await verification.verify()

    assert await outcomes(world) == {job_id: ("verified", None)}
    assert len(registry.requests) == requested


async def test_the_distribution_registry_distinguishes_a_pushed_digest_from_an_invented_one(
    world: World, verification: Verifier, tmp_path: Path
) -> None:
    server = await world.add_server()
    registry = LocalRegistry.start(tmp_path, users={"alice": PASSWORD}, bcrypt_rounds=4)
    try:
        await RepositoryFixture(registry.host, "team/app", {"Authorization": ALICE}).put("1", IMAGE)
        good = await push(world, server, registry.host, IMAGE.digest)
        bad = await push(world, server, registry.host, LIE)

        await verification.verify()
    finally:
        registry.stop()

    assert await outcomes(world) == {good: ("verified", None), bad: ("missing", None)}


async def test_a_digest_that_the_worker_made_up_is_missing(
    world: World, verification: Verifier
) -> None:
    server = await world.add_server()
    async with open_registry() as registry:
        job_id = await push(world, server, registry.host, LIE)

        await verification.verify()

    assert await outcomes(world) == {job_id: ("missing", None)}


@pytest.mark.parametrize(
    ("answer", "code", "is_asked_again"),
    [
        (says(500), "registry_error", True),
        (says(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), "auth_bad_credentials", False),
        (None, "conn_timeout", True),
    ],
    ids=["an error", "a refusal", "nothing"],
)
async def test_control_asks_again_a_minute_after_an_error_that_may_pass(
    world: World,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer | None,
    code: str,
    *,
    is_asked_again: bool,
) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("worker.control.maintenance.verification.TIMEOUT_SECONDS", 0.5)
    verification = Verifier(pool, Verification(world.keys, LOOPBACK))
    server = await world.add_server()
    async with open_fake(answer or never) as registry:
        job_id = await push(world, server, registry.host, IMAGE.digest)

        await verification.verify()
        requested = len(registry.requests)
        await verification.verify()
        asked_at_once = len(registry.requests)
        await world.owner.execute("UPDATE digest_check SET checked_at = now() - interval '61 s'")
        await verification.verify()

    assert await outcomes(world) == {job_id: ("not_reached", code)}
    assert requested == asked_at_once
    assert (len(registry.requests) > requested) is is_asked_again


async def test_an_address_that_is_not_allowed_is_not_connected_to(world: World, pool: Pool) -> None:
    verification = Verifier(
        pool, Verification(world.keys, replace(LOOPBACK, networks=parse_networks("public")))
    )
    server = await world.add_server()
    async with open_registry() as registry:
        job_id = await push(world, server, registry.host, IMAGE.digest)

        await verification.verify()

    assert await outcomes(world) == {job_id: ("not_reached", "network_refused")}
    assert registry.requests == []


async def test_a_push_of_long_ago_and_a_digest_that_is_none_are_not_asked_for(
    world: World, verification: Verifier
) -> None:
    server = await world.add_server()
    async with open_registry() as registry:
        old = await push(world, server, registry.host, IMAGE.digest)
        await world.owner.execute(
            "UPDATE job SET finished_at = now() - %s WHERE job_id = %s",
            (timedelta(minutes=11), old),
        )
        for digest in ("sha256:$(id)", {"digest": LIE}, [LIE], 5):
            none = await push(world, server, registry.host, IMAGE.digest)
            await world.owner.execute(
                "UPDATE job SET result = %s WHERE job_id = %s", (Jsonb({"digest": digest}), none)
            )

        await verification.verify()

    assert await outcomes(world) == {} and registry.requests == []


async def test_a_job_that_cannot_be_asked_for_is_set_aside_and_the_others_are_verified(
    world: World, verification: Verifier
) -> None:
    server = await world.add_server()
    async with open_registry() as registry:
        bad = await push(world, server, registry.host, IMAGE.digest)
        await world.owner.execute(
            "UPDATE job SET command = %s WHERE job_id = %s", (Jsonb({"reference": 5}), bad)
        )
        unreadable = await push(world, server, registry.host, IMAGE.digest)
        await world.owner.execute("UPDATE job SET command = '{}' WHERE job_id = %s", (unreadable,))
        good = await push(world, server, registry.host, IMAGE.digest)

        await verification.verify()

    found = await outcomes(world)
    aside: list[dict[str, Any]] = await world.rows("SELECT service, row_id FROM set_aside")
    assert found.pop(good) == ("verified", None)
    assert {*found, *(row["row_id"] for row in aside)} == {bad, unreadable}


async def test_many_pushes_are_verified_a_bounded_number_at_a_time(
    world: World, verification: Verifier
) -> None:
    server = await world.add_server(transfer_limit=2 * BATCH)
    async with open_registry() as registry:
        jobs = [await push(world, server, registry.host, IMAGE.digest) for _ in range(BATCH + 1)]

        assert await verification.verify() == 0
        first = len(await outcomes(world))
        await verification.verify()

    assert first == BATCH
    assert await outcomes(world) == dict.fromkeys(jobs, ("verified", None))


async def test_a_refusal_of_control_confirms_that_of_a_server(
    world: World, verification: Verifier
) -> None:
    servers = [await world.add_server() for _ in range(2)]
    async with open_fake(
        says(
            401, text="{}", kind="application/json", headers={"WWW-Authenticate": 'Basic realm="x"'}
        )
    ) as registry:
        job_id = await push(world, servers[0], registry.host, IMAGE.digest)
        [row] = await world.rows("SELECT registry_id, login_revision FROM registry")
        await world.owner.execute(
            "SELECT login_record(%s, %s, 'refused', %s, now(), 'auth_bad_credentials', %s)",
            (row["registry_id"], row["login_revision"], servers[0].server_id, job_id),
        )
        assert await world.rows("SELECT FROM held_login WHERE cause = 'refused'") == []

        await verification.verify()

    [held] = await world.rows("SELECT * FROM held_login")
    assert (held["key"], held["cause"]) == (row["registry_id"], "refused")
