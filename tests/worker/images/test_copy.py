"""The job of copying an image, between real registries."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImageCopy
from tests.fakes.front import open_front
from tests.worker.oci.copying import make_two_platform_image
from tests.worker.oci.parts import RegistryFactory, basic, make_login
from tests.worker.oci.sample_images import Image, RepositoryFixture
from tests.worker.parts import open_tools
from worker.images.copy import copy
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants

IMAGE = make_two_platform_image("job")


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[RegistryFactory]:
    mine = RegistryFactory(tmp_path / "registries")
    yield mine
    mine.stop()


@pytest.fixture
async def source(registries: RegistryFactory) -> LocalRegistry:
    registry = registries.start()
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", IMAGE)
    return registry


def command(source: str, target: str) -> ImageCopy:
    return ImageCopy(
        source=f"{source}/team/app:1",
        reference=f"{target}/kept/app:1",
        source_registry_id="source",
        registry_id="target",
    )


def grants(source: str, target: str) -> Grants:
    pull, push = frozenset({"pull"}), frozenset({"push", "pull"})
    return Grants(
        grants=(
            Grant(login=make_login(source, "bob"), repository="team/app", rights=pull),
            Grant(login=make_login(target), repository="kept/app", rights=push),
        )
    )


async def require_copied(registry: LocalRegistry, image: Image) -> None:
    await RepositoryFixture(registry.host, "kept/app", basic()).require("1", image)


async def test_a_copy_returns_the_digest_that_the_target_holds(
    source: LocalRegistry, registries: RegistryFactory, tools: Tools
) -> None:
    target = registries.start()
    attempt = Attempt("job", 1)

    result = await copy(
        command(source.host, target.host), grants(source.host, target.host), attempt, tools
    )

    assert result.digest == IMAGE.digest and result.verified_by == "server"
    assert result.reference == f"{target.host}/kept/app:1@{IMAGE.digest}"
    assert attempt.progress and attempt.progress["current_bytes"] == IMAGE.size_bytes
    await require_copied(target, IMAGE)


async def test_a_copy_needs_a_login_for_each_side(
    source: LocalRegistry, registries: RegistryFactory, tools: Tools
) -> None:
    target = registries.start()
    given = grants(source.host, target.host).grants

    for lacking in (Grants(grants=given[:1]), Grants(grants=given[1:])):
        with pytest.raises(RegistryError) as caught:
            await copy(command(source.host, target.host), lacking, Attempt("job", 1), tools)
        assert caught.value.code == FaultCode.AUTH_MISSING


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.LEASE_LOST])
async def test_a_requested_cancel_is_too_late_while_the_tag_is_written(
    reason: StopReason, source: LocalRegistry, registries: RegistryFactory, tools: Tools
) -> None:
    target = registries.start()
    attempt, is_writing, may_go_on = Attempt("job", 1), asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and request.path.endswith("/manifests/1"):
            is_writing.set()
            await may_go_on.wait()
        return None

    async with open_front(target.host, wait) as front:
        attempt.task = asyncio.create_task(
            copy(command(source.host, front.host), grants(source.host, front.host), attempt, tools)
        )
        await is_writing.wait()
        attempt.stop(reason)
        asyncio.get_running_loop().call_later(0.1, may_go_on.set)
        await asyncio.wait({attempt.task})

    if reason is StopReason.CANCELLED:
        assert attempt.task.result().digest == IMAGE.digest
        await require_copied(target, IMAGE)
    else:
        assert attempt.task.cancelled()


async def test_a_cancel_before_the_tag_stops_the_copy(
    source: LocalRegistry, registries: RegistryFactory, tools: Tools
) -> None:
    target = registries.start()
    attempt, is_sending = Attempt("job", 1), asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT":
            is_sending.set()
            await asyncio.Event().wait()
        return None

    async with open_front(target.host, hold) as front:
        attempt.task = asyncio.create_task(
            copy(command(source.host, front.host), grants(source.host, front.host), attempt, tools)
        )
        await is_sending.wait()
        attempt.stop(StopReason.CANCELLED)
        await asyncio.wait({attempt.task}, timeout=2)
        assert attempt.task.cancelled()

    assert (await RepositoryFixture(target.host, "kept/app", basic()).get("manifests/1"))[0] == 404
