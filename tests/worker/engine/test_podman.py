"""Podman in place of Docker, as recorded from 5.4.2 (Debian 13); scripted Engines."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from tests.worker.engine.contexts import context, packed
from tests.worker.engine.parts import IDLE, open_scripted_engine
from tests.worker.engine.test_images import ignore
from worker.engine import images
from worker.engine.builds.builder import BuildRequest, build
from worker.engine.compression import unpacks_zstd
from worker.engine.transport.connection import Engine

APP = Reference("127.0.0.1:5999", "team/app", "1")
DIGEST = "sha256:5362731ca6ef873b88d62f2acb45e974a948d206bd50614cf849532a3a663b3a"
IMAGE_ID = "sha256:5799bc78a6d7067bf2b608a3ba4d0dda421d1192771fff7b2e45ba515a8cd4fb"
PULLED = (
    '{"status":"Pulling fs layer","progressDetail":{},"id":"6ed4ee2c51b3"}',
    '{"status":"Download complete","progressDetail":{},"id":"6ed4ee2c51b3"}',
    '{"status":"Pulling fs layer","progressDetail":{},"id":"5799bc78a6d7"}',
    '{"status":"Download complete","progressDetail":{},"id":"5799bc78a6d7"}',
    '{"status":"Download complete","progressDetail":{},"id":"5799bc78a6d7"}',
)
IMAGE = {
    "Id": IMAGE_ID,
    "RepoDigests": [f"127.0.0.1:5999/team/app@{DIGEST}"],
    "Os": "linux",
    "Architecture": "amd64",
}
VERSION = {
    "Components": [{"Name": "Podman Engine", "Version": "5.4.2"}, {"Name": "Conmon"}],
    "Version": "5.4.2",
    "ApiVersion": "1.41",
    "MinAPIVersion": "1.24",
    "Os": "linux",
    "Arch": "amd64",
}


@asynccontextmanager
async def podman(
    directory: Path, lines: tuple[str, ...] = PULLED, image: Mapping[str, object] | None = IMAGE
) -> AsyncIterator[Engine]:
    """Open a scripted Podman, which has the image after a pull."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/version":
            return web.json_response(VERSION)
        if request.path.endswith(("/images/create", "/build")):
            return web.Response(text="\n".join(lines), content_type="application/json")
        if image is None:
            return web.json_response({"message": "No such image"}, status=404)
        return web.json_response(image)

    async with open_scripted_engine(directory, answer) as scripted:
        scripted.is_sane = False  # its version is answered above
        async with Engine.open(scripted.docker_host) as engine:
            yield engine


@pytest.mark.parametrize("reference", [APP, replace(APP, tag=None, digest=DIGEST)])
async def test_a_pull_is_judged_by_the_image_that_is_there(
    tmp_path: Path, reference: Reference
) -> None:
    async with podman(tmp_path) as engine:
        pulled = await images.pull(engine, reference, None, ignore, IDLE)

    assert (pulled.digest, pulled.image_id) == (DIGEST, IMAGE_ID)


@pytest.mark.parametrize(
    ("lines", "image"),
    [
        (PULLED, None),
        (PULLED, {**IMAGE, "Id": f"sha256:{'0' * 64}"}),
        (PULLED[:3], IMAGE),
        (PULLED[:2], IMAGE),
        ((), IMAGE),
    ],
    ids=["no image", "another image", "no end", "a layer at the end", "nothing"],
)
async def test_a_pull_that_breaks_off_has_failed(
    tmp_path: Path, lines: tuple[str, ...], image: Mapping[str, object] | None
) -> None:
    async with podman(tmp_path, lines, image) as engine:
        with pytest.raises(EngineError) as caught:
            await images.pull(engine, APP, None, ignore, IDLE)

    assert caught.value.code == FaultCode.ENGINE_STREAM_TRUNCATED


async def test_a_pull_of_another_digest_has_failed(tmp_path: Path) -> None:
    wanted = replace(APP, tag=None, digest=f"sha256:{'1' * 64}")

    async with podman(tmp_path) as engine:
        with pytest.raises(EngineError) as caught:
            await images.pull(engine, wanted, None, ignore, IDLE)

    assert caught.value.code == FaultCode.DIGEST_MISMATCH


async def test_it_is_called_podman(tmp_path: Path) -> None:
    async with podman(tmp_path, image=json.loads("{}")) as engine:
        info = await engine.info()
        unpacks = await unpacks_zstd(engine)

    assert info.engine_version == "Podman 5.4.2"
    assert unpacks


FAILED = (
    '{"stream":"STEP 1/2: FROM 127.0.0.1:5999/team/app:1\\n"}',
    '{"stream":"STEP 2/2: RUN exit 7\\n"}',
    '{"errorDetail":{"message":"building at STEP \\"RUN exit 7\\": exit status 7\\n"}}',
)


async def test_a_failed_step_of_a_build_is_named(tmp_path: Path) -> None:
    log = list[str]()
    async with podman(tmp_path, FAILED) as engine, packed(context("FROM x\n")) as files:
        with pytest.raises(EngineError) as caught:
            await build(engine, BuildRequest(APP), files, [], on_line=log.append, idle=IDLE)

    assert caught.value.code == FaultCode.BUILD_FAILED
    assert "'RUN exit 7' ended with exit code 7" in caught.value.message
