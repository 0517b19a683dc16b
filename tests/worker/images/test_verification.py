"""The jobs that verify and delete an image, at real registries."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import InvalidReferenceError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImageDelete, ImageVerify
from shared.jobs.deletion import Claim, Known
from shared.jobs.results import DeleteResult, VerificationResult
from shared.settings import WorkerSettings
from tests.fakes.front import open_front
from tests.worker.oci.copying import make_two_platform_image
from tests.worker.oci.parts import RegistryFactory, basic, make_login
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from tests.worker.oci.storage import Storage
from tests.worker.parts import open_loopback_engine, open_tools
from worker.images.verification import delete, verify
from worker.jobs.attempt import Attempt, StopReason
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants
from worker.server.handlers import open_work

IMAGE = make_two_platform_image("proofs")
WRONG = "not-the-password-99"
OWN = Known(
    claims=(Claim(kind="build", name="build 1", build_id="1", tag="1"),), given_up=frozenset("1")
)
"""The tag is our own, and the database no longer needs the image."""


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[RegistryFactory]:
    mine = RegistryFactory(tmp_path / "registries")
    yield mine
    mine.stop()


async def fill(registry: LocalRegistry) -> LocalRegistry:
    await RepositoryFixture(registry.host, "team/app", basic()).put("1", IMAGE)
    return registry


@pytest.fixture
async def registry(registries: RegistryFactory) -> LocalRegistry:
    return await fill(registries.start())


def reference(host: str, digest: str = IMAGE.digest) -> str:
    return f"{host}/team/app:1@{digest}"


def grants(host: str, secret: str | None = None) -> Grants:
    login = make_login(host, "alice", secret)
    rights = frozenset({"pull", "delete"})
    return Grants(grants=(Grant(login=login, repository="team/app", rights=rights),))


def verify_command(host: str) -> ImageVerify:
    return ImageVerify(reference=reference(host), registry_id="registry")


def delete_command(host: str) -> ImageDelete:
    return ImageDelete(reference=reference(host), registry_id="registry", known=OWN)


async def is_there(host: str) -> bool:
    status, _ = await RepositoryFixture(host, "team/app", basic()).get(f"manifests/{IMAGE.digest}")
    return status == 200


async def test_a_complete_image_is_verified(registry: LocalRegistry, tools: Tools) -> None:
    result = await verify(verify_command(registry.host), grants(registry.host), tools)

    assert (result.reference, result.digest) == (reference(registry.host), IMAGE.digest)
    assert (result.blobs, result.size_bytes) == (len(IMAGE.blobs), IMAGE.size_bytes)


async def test_an_image_without_a_stored_registry_is_verified_anonymously(
    registry: LocalRegistry, tools: Tools
) -> None:
    command = ImageVerify(reference=reference(registry.host))

    with pytest.raises(RegistryError) as caught:
        await verify(command, grants(registry.host), tools)

    assert caught.value.code == FaultCode.AUTH_MISSING


async def test_a_lost_layer_fails_and_names_image_and_layer(
    registry: LocalRegistry, tools: Tools
) -> None:
    lost = next(iter(IMAGE.blobs))
    Storage(registry).data(lost).unlink()

    with pytest.raises(RegistryError) as caught:
        await verify(verify_command(registry.host), grants(registry.host), tools)

    fault = caught.value.fault()
    assert fault.code == "image_incomplete" and not fault.retryable
    assert reference(registry.host) in fault.message and lost in fault.message
    assert "Push or build the image again" in fault.remedy


async def test_a_slow_registry_fails_before_the_attempt_times_out(
    registry: LocalRegistry, tools: Tools
) -> None:
    async def hold(request: web.Request) -> web.StreamResponse | None:
        if "/blobs/" in request.path:
            await asyncio.Event().wait()
        return None

    async with open_front(registry.host, hold) as front:
        with pytest.raises(RegistryError) as caught:
            await verify(
                verify_command(front.host),
                grants(front.host),
                tools,
                within=timedelta(seconds=0.5),
            )

    assert caught.value.code == FaultCode.CONN_TIMEOUT and caught.value.retryable
    assert "longer than 0.5 s" in caught.value.message


async def test_an_image_is_deleted_once_and_then_reported_as_gone(
    registry: LocalRegistry, tools: Tools
) -> None:
    ask = delete_command(registry.host), grants(registry.host)

    first = await delete(*ask, Attempt("job", 1), tools)
    second = await delete(*ask, Attempt("job", 2), tools)

    assert (first.reference, first.digest) == (reference(registry.host), IMAGE.digest)
    assert first.was_there and not second.was_there
    assert not await is_there(registry.host)


async def test_children_of_a_deleted_index_are_left_to_the_registry(
    registry: LocalRegistry, tools: Tools
) -> None:
    await delete(delete_command(registry.host), grants(registry.host), Attempt("job", 1), tools)

    depot = RepositoryFixture(registry.host, "team/app", basic())
    for digest in IMAGE.digests[:-1]:
        assert (await depot.get(f"manifests/{digest}"))[0] == 200


async def test_a_registry_that_cannot_delete_fails_unless_the_image_is_gone(
    registries: RegistryFactory, tools: Tools
) -> None:
    host = (await fill(registries.start(deletes=False))).host

    with pytest.raises(RegistryError) as caught:
        await delete(delete_command(host), grants(host), Attempt("job", 1), tools)
    gone = ImageDelete(
        reference=reference(host, make_image(b"removed").digest),
        registry_id="registry",
        known=OWN,
    )
    result = await delete(gone, grants(host), Attempt("job", 2), tools)

    assert caught.value.code == FaultCode.DELETE_UNSUPPORTED and not caught.value.retryable
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in caught.value.fault().remedy
    assert not result.was_there
    assert await is_there(host)


async def test_a_registry_that_still_has_a_deleted_image_fails(
    registry: LocalRegistry, tools: Tools
) -> None:
    async def pretend(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=202) if request.method == "DELETE" else None

    async with open_front(registry.host, pretend) as front:
        with pytest.raises(RegistryError) as caught:
            await delete(delete_command(front.host), grants(front.host), Attempt("job", 1), tools)

    assert caught.value.code == FaultCode.REGISTRY_ERROR and caught.value.retryable
    assert f"accepted the deletion of {reference(front.host)}" in caught.value.message


async def test_a_delete_whose_answer_was_lost_is_requested_again(
    registry: LocalRegistry, tools: Tools
) -> None:
    async def lose(request: web.Request) -> web.StreamResponse | None:
        if request.method != "DELETE":
            return None
        await delete(
            delete_command(registry.host), grants(registry.host), Attempt("other", 1), tools
        )
        assert request.transport
        request.transport.abort()
        return web.Response()

    async with open_front(registry.host, lose) as front:
        with pytest.raises(RegistryError) as caught:
            await delete(delete_command(front.host), grants(front.host), Attempt("job", 1), tools)
        result = await delete(
            delete_command(front.host), grants(front.host), Attempt("job", 2), tools
        )

    assert caught.value.code == FaultCode.CONN_RESET and caught.value.retryable
    assert not result.was_there


@pytest.mark.parametrize("reason", [StopReason.CANCELLED, StopReason.LEASE_LOST])
async def test_a_requested_cancel_is_too_late_after_the_request_to_delete(
    reason: StopReason, registry: LocalRegistry, tools: Tools
) -> None:
    attempt, is_asked, may_go_on = Attempt("job", 1), asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse | None:
        if request.method == "DELETE":
            is_asked.set()
            asyncio.get_running_loop().call_later(0.1, may_go_on.set)
            await may_go_on.wait()
        return None

    async with open_front(registry.host, wait) as front:
        await stop(front.host, tools, attempt, reason, is_asked)

    assert attempt.task
    if reason is StopReason.CANCELLED:
        assert attempt.task.result().was_there and attempt.is_too_late
        assert not await is_there(registry.host)
    else:
        assert attempt.task.cancelled()


async def test_a_cancel_before_the_request_deletes_nothing(
    registry: LocalRegistry, tools: Tools
) -> None:
    attempt, is_looking = Attempt("job", 1), asyncio.Event()

    async def hold(_: web.Request) -> web.StreamResponse | None:
        is_looking.set()
        await asyncio.Event().wait()
        return None

    async with open_front(registry.host, hold) as front:
        await stop(front.host, tools, attempt, StopReason.CANCELLED, is_looking)

    assert attempt.task and attempt.task.cancelled()
    assert await is_there(registry.host)


async def stop(
    host: str, tools: Tools, attempt: Attempt, reason: StopReason, moment: asyncio.Event
) -> None:
    """Stop a delete at the moment that the event marks."""
    attempt.task = asyncio.create_task(delete(delete_command(host), grants(host), attempt, tools))
    await moment.wait()
    attempt.stop(reason)
    await asyncio.wait({attempt.task}, timeout=3)


async def fail(host: str, given: Grants, tools: Tools) -> list[WharfError]:
    """Run both jobs and return their errors."""
    errors = []
    for work in (
        verify(verify_command(host), given, tools),
        delete(delete_command(host), given, Attempt("job", 1), tools),
    ):
        with pytest.raises(WharfError) as caught:
            await work
        errors.append(caught.value)
    return errors


async def test_a_wrong_password_is_named_and_never_shown(
    registry: LocalRegistry, tools: Tools
) -> None:
    for error in await fail(registry.host, grants(registry.host, WRONG), tools):
        assert error.code == FaultCode.AUTH_BAD_CREDENTIALS and not error.retryable
        assert WRONG not in f"{error!r} {error.fault()!r}"
    assert await is_there(registry.host)


async def test_a_registry_that_is_down_is_a_retryable_failure(
    registry: LocalRegistry, tools: Tools
) -> None:
    registry.stop()

    for error in await fail(registry.host, grants(registry.host), tools):
        assert error.code == FaultCode.CONN_REFUSED and error.retryable


@pytest.mark.parametrize("rights", [frozenset({"push"}), frozenset()])
async def test_a_login_for_another_repository_is_not_used(
    rights: frozenset[str], registry: LocalRegistry, tools: Tools
) -> None:
    given = Grants.model_validate(
        {"grants": [grants(registry.host).grants[0].model_copy(update={"rights": rights})]}
    )

    for error in await fail(registry.host, given, tools):
        assert error.code == FaultCode.AUTH_MISSING
    assert await is_there(registry.host)


async def test_a_name_without_a_digest_is_refused_before_anything_happens(
    registry: LocalRegistry, tools: Tools
) -> None:
    named = f"{registry.host}/team/app:1"
    given = grants(registry.host)

    with pytest.raises(InvalidReferenceError):
        await verify(ImageVerify(reference=named, registry_id="registry"), given, tools)
    with pytest.raises(InvalidReferenceError):
        await delete(
            ImageDelete(reference=named, registry_id="registry"), given, Attempt("job", 1), tools
        )

    assert await is_there(registry.host)


async def test_a_worker_runs_both_kinds(registry: LocalRegistry, tmp_path: Path) -> None:
    settings = WorkerSettings.model_validate(
        {"state_dir": tmp_path, "broker_url": "redis://broker/0", "registry_networks": "loopback"}
    )
    given, attempt = grants(registry.host), Attempt("job", 1)

    async with open_loopback_engine(tmp_path) as docker_host, AsyncExitStack() as stack:
        work, *_ = await open_work(stack, settings, docker_host)
        proved = await work(verify_command(registry.host), given, attempt)
        deleted = await work(delete_command(registry.host), given, attempt)

    assert isinstance(proved, VerificationResult) and isinstance(deleted, DeleteResult)
