"""Pushes through a real Engine whose answer was lost, or whose tag is immutable."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import EngineError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePush
from shared.jobs.results import ImageResult
from shared.reference import Reference
from tests.engines import needs_loopback, uses_containerd_store
from tests.fakes.front import open_front
from tests.fakes.immutable import ImmutableTags
from tests.fakes.web import Fake
from tests.worker.engine.parts import RegistryFixture
from tests.worker.oci.parts import ALLOWED
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images.pull_push_tag import push
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants, Login


@dataclass
class PushScenario:
    """A server and a registry with immutable tags; ``front`` is the registry's address."""

    tools: Tools
    local: LocalEngine
    registry: RegistryFixture
    front: Fake

    async def make(self, name: str, seed: int) -> None:
        await asyncio.to_thread(make_image, self.local.docker_host, name, seed=seed)

    async def push(self, source: str, target: str = "team/once:1") -> ImageResult:
        command = ImagePush(
            source=source, reference=f"{self.front.host}/{target}", registry_id="registry"
        )
        right = self.registry.login()
        login = Login(
            host=self.front.host, username=right.username, secret=right.secret, tls=ALLOWED
        )
        repository = target.partition(":")[0]
        grant = Grant(login=login, repository=repository, rights=frozenset({"push"}))
        return await push(command, Grants(grants=(grant,)), Attempt("job", 1), self.tools)


@pytest.mark.parametrize("lost", [1, 0], ids=["answer lost", "pushed twice"])
async def test_a_stored_push_succeeds_whatever_the_registry_answers_then(
    lost: int,
    engine: Engine,
    local_engine: LocalEngine,
    locked_registry: RegistryFixture,
    tmp_path: Path,
) -> None:
    tags = ImmutableTags(locked_registry.host, lost=lost)
    listen = locked_registry.local.address
    repository = f"team/once-{lost}"
    async with open_front(locked_registry.host, tags.intercept, listen=listen) as front:
        scenario = PushScenario(
            make_tools(engine, "private", tmp_path), local_engine, locked_registry, front
        )
        await scenario.make(f"once-{lost}:1", 601 + lost)
        await scenario.make(f"other-{lost}:1", 611 + lost)

        first = await scenario.push(f"once-{lost}:1", f"{repository}:1")
        again = await scenario.push(f"once-{lost}:1", f"{repository}:1")
        with pytest.raises(EngineError) as caught:
            await scenario.push(f"other-{lost}:1", f"{repository}:1")
        held = await scenario.tools.confirm(
            Reference(locked_registry.host, repository, "1"), locked_registry.login()
        )

    assert first.digest == again.digest == held.digest
    assert (caught.value.code, caught.value.retryable) == (FaultCode.TAG_IMMUTABLE, False)
    # With the containerd store an Engine looks first, and pushes nothing that is there.
    assert tags.refused == (1 if uses_containerd_store() else 2)


@needs_loopback
@pytest.mark.parametrize("networks", ["loopback", "private"])
async def test_the_engine_confirms_a_push_to_a_registry_that_only_it_reaches(
    engine: Engine, local_engine: LocalEngine, namespace: Namespace, tmp_path: Path, networks: str
) -> None:
    inner = LocalRegistry.start(tmp_path / "registry", wrapper=namespace.wrapper)
    target = f"{inner.host}/team/inner:1"
    try:
        await asyncio.to_thread(make_image, local_engine.docker_host, target, seed=631)
        login = Login(host=inner.host, username="", secret=SecretStr(""), tls=ALLOWED)
        grant = Grant(login=login, repository="team/inner", rights=frozenset({"push"}))
        command = ImagePush(source=target, reference=target, registry_id="registry")
        tools = make_tools(engine, networks, tmp_path)

        result = await push(command, Grants(grants=(grant,)), Attempt("job", 1), tools)
        held = await images.distribution(engine, command.target, None)
    finally:
        inner.stop()

    assert (result.digest, result.verified_by) == (held.digest, "server")


async def test_a_denied_push_fails_although_the_image_exists(
    engine: Engine, local_engine: LocalEngine, locked_registry: RegistryFixture, tmp_path: Path
) -> None:
    target = locked_registry.reference("team/denied")
    await asyncio.to_thread(make_image, local_engine.docker_host, str(target), seed=621)
    tools = make_tools(engine, "private", tmp_path)
    command = ImagePush(source=str(target), reference=str(target), registry_id="registry")

    def grants(login: Login) -> Grants:
        grant = Grant(login=login, repository="team/denied", rights=frozenset({"push"}))
        return Grants(grants=(grant,))

    await push(command, grants(locked_registry.login()), Attempt("job", 1), tools)
    assert await images.find(engine, str(target))
    with pytest.raises(RegistryError) as caught:
        await push(command, grants(locked_registry.login("wrong")), Attempt("job", 2), tools)

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
