"""The images of a compose file are pulled, or skipped and named; a real Engine and registry."""

from pathlib import Path

import pytest

from shared.compose.images import read_compose
from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ComposeImage, ComposePull
from shared.jobs.results import ComposeResult
from shared.reference import Reference
from tests.proxies import open_proxy
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore, make
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images import compose
from worker.jobs.attempt import Attempt
from worker.local.engines import LocalEngine
from worker.login import Grants


async def pull(engine: Engine, directory: Path, text: str) -> ComposeResult:
    """Pull a file's images without a login."""
    command = ComposePull(
        compose=text,
        images=tuple(
            ComposeImage(
                services=(image.service,),
                reference=str(image.reference),
                only_if_missing=image.only_if_missing,
                can_be_built=image.can_be_built,
            )
            for image in read_compose(text).images
        ),
    )
    tools = make_tools(engine, "private", directory)
    return await compose.pull(command, Grants(), Attempt("job", 1), tools)


async def test_an_image_that_can_be_built_may_be_missing(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, tmp_path: Path
) -> None:
    there, missing = registry.reference("compose/there"), registry.reference("compose/missing")
    await make(local_engine, there, seed=71, size=1000)
    pushed = await images.push(engine, there, None, ignore, IDLE)
    text = (
        f"services:\n  web: {{image: '{there}'}}\n"
        f"  built: {{image: '{missing}', build: .}}\n"
        f"  off: {{image: '{missing}', profiles: [off]}}\n"
    )

    result = await pull(engine, tmp_path, text)

    assert [(one.service, one.digest) for one in result.images] == [("web", pushed.digest)]
    assert [one.service for one in result.skipped] == ["off", "built"]
    assert result.skipped[1].reason.startswith("it has to be built: ")
    assert result.compose_file == text.replace(str(there), f"{there}@{pushed.digest}")


async def test_an_image_that_cannot_be_built_must_be_there(
    engine: Engine, registry: RegistryFixture, tmp_path: Path
) -> None:
    text = f"services: {{web: {{image: '{registry.reference('compose/missing')}'}}}}"

    with pytest.raises(WharfError, match="web") as caught:
        await pull(engine, tmp_path, text)

    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_local_image_is_taken_where_the_policy_says_so(
    engine: Engine, local_engine: LocalEngine, registry: RegistryFixture, tmp_path: Path
) -> None:
    async with open_proxy(registry.address, listen=registry.local.address) as proxy:
        reference = Reference(proxy.host, "compose/local", "1")
        await make(local_engine, reference, seed=72, size=1000)
        pushed = await images.push(engine, reference, None, ignore, IDLE)
    # Now nobody listens there.
    text = f"services: {{web: {{image: '{reference}', pull_policy: if_not_present}}}}"

    result = await pull(engine, tmp_path, text)

    assert [one.digest for one in result.images] == [pushed.digest]
