"""The pulls that one job spends at Docker Hub, and what its worker reports of the limit."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImageCopy, ImagePull, ServiceReplace
from shared.networks import parse_networks
from tests.fakes.certificates import Authority
from tests.fakes.providers.clients import find_address, make_client_settings
from tests.fakes.providers.cloud import open_clouds
from tests.fakes.providers.hub import Account, Hub, Limit
from tests.worker.control.quotas.engines import SimulatedEngine, open_simulated_engine
from tests.worker.control.quotas.fleet import SimulatedTools
from tests.worker.oci.sample_images import RepositoryFixture, make_image
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.swarm_targets import ServiceTarget
from worker.deployments.targets import ReadinessPolicy
from worker.engine.transport.connection import Engine
from worker.images.copy import copy
from worker.images.pull_push_tag import pull
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import open_log
from worker.jobs.mask import Mask
from worker.jobs.second_opinion import Transfer, find_engine_login
from worker.jobs.tools import log_sender
from worker.jobs.workspaces import Workspaces
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants, Login

pytestmark = pytest.mark.real_parts

USER, PASSWORD = "dockerhubuser", "dockerhub-token"
HUB = "docker.io"
REGISTRY_ID = "registry-1"
REFERENCE = f"{HUB}/mycompany/app:1"


@dataclass
class Server:
    """A simulated server whose registry is the fake of Docker Hub."""

    hub: Hub
    engine: SimulatedEngine
    tools: SimulatedTools
    attempt: Attempt

    async def pull(self, *, preflight: bool = False, tag: str = "1") -> None:
        reference = f"{HUB}/mycompany/app:{tag}"
        command = ImagePull(reference=reference, registry_id=REGISTRY_ID, preflight=preflight)
        await pull(command, self.grants, self.attempt, self.tools)

    async def find_platforms(self, *, tag: str = "1") -> tuple[str, ...]:
        """Check the image of a service."""
        command = ServiceReplace(
            application_id="app",
            deployment_id="deployment",
            name="app",
            reference=f"{HUB}/mycompany/app:{tag}",
            registry_id=REGISTRY_ID,
        )
        transfer = Transfer("pull", command.target, self.grants.login_for(command.target, "pull"))
        login = await find_engine_login(transfer, self.tools)
        mask = Mask(())
        async with open_log(log_sender(self.attempt), mask) as log:
            target = ServiceTarget(self.tools.engine, command, log, mask, ReadinessPolicy())
            return await target.find_platforms(transfer, login, self.tools)

    @property
    def grants(self) -> Grants:
        login = Login(host=HUB, username=USER, secret=SecretStr(PASSWORD))
        grant = Grant(login=login, repository="mycompany/app", rights=frozenset({"pull"}))
        return Grants(grants=(grant,))

    def reported(self) -> list[tuple[str | None, int | None, bool]]:
        """Return the registry, the remaining pulls and the refusal of each report."""
        return [
            (one["registry_id"], one["remaining"], one["refused"])
            for one in self.attempt.quotas.report()
        ]


@pytest.fixture
async def server(open_registry: LocalRegistry, tmp_path: Path) -> AsyncIterator[Server]:
    await RepositoryFixture(open_registry.host, "mycompany/app").put("1", make_image(b"layer"))
    account = Account(PASSWORD, frozenset({"mycompany"}))
    hub = Hub(open_registry.host, accounts={USER: account}, limit=Limit(100))
    authority = Authority(tmp_path)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            open_clouds(hub, authority=authority, listen=find_address(9))
        )
        settings = make_client_settings(hub, authority=authority, directory=tmp_path / "certs.d")
        simulated, scripted = await stack.enter_async_context(
            open_simulated_engine(tmp_path, settings)
        )
        engine = await stack.enter_async_context(Engine.open(scripted.docker_host))
        attempt = Attempt("job", 1)
        attempt.quotas.registry_ids = {(HUB, USER): REGISTRY_ID}
        tools = SimulatedTools(
            engine,
            parse_networks("loopback"),
            Workspaces.open(tmp_path / "builds"),
            quotas=attempt.quotas,
            journal=RecoveryJournal(engine, tmp_path / "begun.json"),
            settings=settings,
        )
        yield Server(hub, simulated, tools, attempt)


@pytest.mark.parametrize("preflight", [False, True])
async def test_a_pull_spends_one_pull_and_reports_what_is_left(
    server: Server, *, preflight: bool
) -> None:
    await server.pull(preflight=preflight)

    assert server.hub.limit.counted == 1
    assert server.reported() == [(REGISTRY_ID, 99, False)]


async def test_a_preflight_names_a_missing_image_and_spends_nothing(server: Server) -> None:
    with pytest.raises(WharfError) as raised:
        await server.pull(preflight=True, tag="missing")

    assert raised.value.code == FaultCode.IMAGE_NOT_FOUND
    assert (server.engine.pulls, server.hub.limit.counted) == (0, 0)


async def test_the_cause_of_a_failure_is_found_without_a_pull(server: Server) -> None:
    server.engine.failure = "received unexpected HTTP status: 502 Bad Gateway"

    with pytest.raises(WharfError):
        await server.pull()

    assert server.hub.limit.counted == 0
    assert server.reported() == [(REGISTRY_ID, 100, False)]


async def test_a_refused_pull_reports_the_refusal_with_its_window(server: Server) -> None:
    server.hub.limit.used = 100

    with pytest.raises(WharfError) as raised:
        await server.pull()

    assert raised.value.code == FaultCode.RATE_LIMITED
    assert server.reported() == [(REGISTRY_ID, 0, True)]
    assert server.hub.limit.counted == 0


async def test_refusals_for_too_many_requests_are_reported_without_a_limit(
    server: Server,
) -> None:
    await server.pull()
    server.hub.abuse = 1000

    with pytest.raises(WharfError) as raised:
        await server.pull(preflight=True)

    assert raised.value.code == FaultCode.RATE_LIMITED
    assert server.reported() == [(REGISTRY_ID, 99, False), (REGISTRY_ID, None, True)]


async def test_the_check_of_a_service_spends_nothing_where_its_nodes_are_alike(
    server: Server,
) -> None:
    server.engine.architectures = ("x86_64", "amd64")

    assert await server.find_platforms() == ("linux/amd64",)

    assert server.hub.limit.counted == 0
    assert server.reported() == [(REGISTRY_ID, 100, False)]


async def test_the_check_of_a_service_reads_the_platforms_for_nodes_that_differ(
    server: Server,
) -> None:
    server.engine.architectures = ("x86_64", "aarch64")

    assert await server.find_platforms() == ("linux/amd64",)

    assert server.hub.limit.counted == 1


async def test_the_check_of_a_service_names_a_missing_image_and_spends_nothing(
    server: Server,
) -> None:
    with pytest.raises(WharfError) as raised:
        await server.find_platforms(tag="missing")

    assert raised.value.code == FaultCode.IMAGE_NOT_FOUND
    assert server.hub.limit.counted == 0


async def test_a_copy_reports_what_its_own_requests_have_seen(
    server: Server, open_registry: LocalRegistry
) -> None:
    target = f"{open_registry.host}/copies/app:1"
    command = ImageCopy(reference=target, source=REFERENCE, source_registry_id=REGISTRY_ID)

    await copy(command, server.grants, server.attempt, server.tools)

    assert server.hub.limit.counted == 1
    assert server.reported() == [(REGISTRY_ID, 99, False)]
