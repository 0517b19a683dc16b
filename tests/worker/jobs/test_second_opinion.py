"""Errors of an Engine that are weighed against the answers of a registry on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import EngineError, WharfError
from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Right, Stage
from shared.reference import Reference
from tests.fakes.sockets import be_silent, open_socket
from tests.fakes.web import Fake, open_fake
from tests.worker.parts import open_tools
from worker.jobs.engine_certificates import EngineCertificates
from worker.jobs.second_opinion import Transfer, combine, look_ahead, second_opinion
from worker.jobs.tools import Tools
from worker.oci.inquiry import Findings

API = {"Docker-Distribution-Api-Version": "registry/2.0"}


async def answer(request: web.Request) -> web.StreamResponse:
    """Answer as an open registry that takes any upload."""
    if request.method == "POST":
        return web.Response(status=202, headers={"Location": f"{request.path}1"})
    return web.Response(status=204) if request.method == "DELETE" else web.Response(headers=API)


@pytest.fixture
async def registry() -> AsyncIterator[Fake]:
    async with open_fake(answer) as fake:
        yield fake


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


def transfer(host: str, right: Right = "push") -> Transfer:
    return Transfer(right, Reference(host, "team/app", "1"))


async def fail(
    asked: Transfer, tools: Tools, error: EngineError, *, has_moved: bool = False
) -> EngineError:
    """Return what becomes of an Engine's error."""
    with pytest.raises(EngineError) as caught:
        async with second_opinion(asked, tools, has_moved=lambda: has_moved):
            raise error
    return caught.value


@pytest.mark.parametrize(
    ("others", "has_moved", "code"),
    [
        (1, False, FaultCode.ENGINE_BUSY),
        (1, True, FaultCode.ENGINE_STALLED),
        (0, False, FaultCode.ENGINE_STALLED),
    ],
)
async def test_a_good_push_that_waited_for_others_finds_the_engine_busy(
    tools: Tools, registry: Fake, others: int, code: FaultCode, *, has_moved: bool
) -> None:
    stalled = EngineError(FaultCode.ENGINE_STALLED, "cannot push: no data moved for 60 s")
    tools.transfers.running["push"] = others

    error = await fail(transfer(registry.host), tools, stalled, has_moved=has_moved)

    assert (error.code, error.retryable) == (code, True)
    assert tools.transfers.running["push"] == others


@pytest.mark.parametrize(
    ("host", "code", "words"),
    [
        ("ghcr.io", FaultCode.PUSH_DENIED, "write:packages"),
        ("myregistry.azurecr.io", FaultCode.PUSH_DENIED, "Container Registry Repository Writer"),
        ("gcr.io", FaultCode.REPO_MISSING, "Artifact Registry"),
        ("registry.example", FaultCode.PUSH_DENIED, FAULTS[FaultCode.PUSH_DENIED].remedy),
    ],
)
def test_an_engines_refusal_alone_is_explained_in_the_terms_of_the_provider(
    host: str, code: FaultCode, words: str
) -> None:
    refused = EngineError(code, f"cannot push {host}/team/app:1: denied")

    error = combine(refused, transfer(host), Findings(Stage.PARSE), EngineCertificates())

    assert error.code == code
    assert words in error.remedy


async def test_a_registry_is_not_asked_about_a_certain_error(tools: Tools, registry: Fake) -> None:
    certain = EngineError(FaultCode.LOCAL_IMAGE_MISSING, "cannot push: no such image")

    error = await fail(transfer(registry.host), tools, certain)

    assert error is certain
    assert registry.requests == []


async def test_an_inquiry_needs_few_requests_and_leaves_no_upload(
    tools: Tools, registry: Fake
) -> None:
    await look_ahead(transfer(registry.host), tools)

    assert registry.lines == [
        "GET /v2/",
        "POST /v2/team/app/blobs/uploads/",
        "DELETE /v2/team/app/blobs/uploads/1",
    ]


async def test_a_silent_registry_is_named_within_five_seconds(tools: Tools) -> None:
    refused = EngineError(FaultCode.ENGINE_REFUSED, "cannot push: something")
    loop = asyncio.get_running_loop()

    async with open_socket(be_silent) as host:
        begun = loop.time()
        error = await fail(transfer(host), tools, refused)
        seconds = loop.time() - begun

    assert (error.code, error.retryable) == (FaultCode.CONN_TIMEOUT, True)
    assert error.message.startswith(f"cannot push {host}/team/app:1: ")
    assert "something" in error.evidence
    assert seconds < 5.5


async def test_a_registry_that_only_the_engine_may_reach_is_left_to_it(tools: Tools) -> None:
    refused = EngineError(FaultCode.ENGINE_REFUSED, "cannot push: something")
    elsewhere = transfer("192.0.2.1:5000")

    error = await fail(elsewhere, tools, refused)
    try:
        await look_ahead(elsewhere, tools)
    except WharfError as refusal:
        pytest.fail(f"the Engine is not asked: {refusal}")

    assert (error.code, error.message) == (FaultCode.ENGINE_REFUSED, refused.message)
