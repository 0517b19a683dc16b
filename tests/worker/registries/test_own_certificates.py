"""A real Engine and a real registry behind mutual TLS: tests, pushes, pulls, with its own CA."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull, ImagePush, RegistryTest
from shared.jobs.diagnosis import ProbeReport, Stage
from tests.fakes.certificates import Authority
from tests.fakes.front import relay
from tests.fakes.web import open_fake
from tests.worker.engine.parts import PASSWORD, USER
from tests.worker.oci.parts import stage
from tests.worker.parts import make_tools
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images.pull_push_tag import pull, push
from worker.jobs.attempt import Attempt, NegativeResultError
from worker.jobs.engine_certificates import EngineCertificates
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants, Login
from worker.registries.diagnosis import run_test
from worker.registry_tls import RegistryTls

REPOSITORY = "team/app"


@dataclass(frozen=True)
class Scenario:
    """A registry that requires client certificates of its own CA, and the tools of a server."""

    tools: Tools
    local: LocalEngine
    host: str
    tls: RegistryTls

    @property
    def folder(self) -> Path:
        return self.tools.engine_certificates.directory / self.host

    def grants(self, tls: RegistryTls) -> Grants:
        login = Login(host=self.host, username=USER, secret=SecretStr(PASSWORD), tls=tls)
        rights = frozenset({"pull", "push"})
        return Grants(grants=(Grant(login=login, repository=REPOSITORY, rights=rights),))

    async def push(self, tls: RegistryTls) -> str | None:
        command = ImagePush(
            source="mutual/app:1", reference=f"{self.host}/{REPOSITORY}:1", registry_id="ours"
        )
        attempt = Attempt("job", 1)
        return (await push(command, self.grants(tls), attempt, self.tools)).digest

    async def pull(self, tls: RegistryTls, digest: str) -> str | None:
        name = f"{self.host}/{REPOSITORY}@{digest}"
        command = ImagePull(reference=name, registry_id="ours")
        return (await pull(command, self.grants(tls), Attempt("job", 1), self.tools)).digest

    async def test(self, tls: RegistryTls) -> None:
        command = RegistryTest(
            host=self.host, username=USER, repository=REPOSITORY, registry_id="ours"
        )
        try:
            await run_test(command, self.grants(tls), self.tools)
        finally:
            await self.tools.clean_ups.finish()


@pytest.fixture
def address(namespace: Namespace) -> Iterator[str]:
    """An address outside of what the Engine lists as insecure; it goes there by default."""
    found = f"198.51.100.{namespace.number}"
    device = ("dev", f"wharf{namespace.number}")
    subprocess.run(("ip", "address", "add", f"{found}/32", *device), check=True)
    yield found
    subprocess.run(("ip", "address", "del", f"{found}/32", *device), check=True)


@pytest.fixture
async def scenario(
    address: str, local_engine: LocalEngine, engine: Engine, tmp_path: Path
) -> AsyncIterator[Scenario]:
    authority = Authority(tmp_path)
    registry = LocalRegistry.start(tmp_path / "registry", users={USER: PASSWORD}, bcrypt_rounds=4)
    context = authority.context_for_clients(address, ssl.TLSVersion.TLSv1_2)
    certificate, key = authority.files("client", "robot.example.test")
    tls = RegistryTls(
        ca_certificate=authority.file.read_text(),
        client_certificate=certificate.read_text(),
        client_key=SecretStr(key.read_text()),
        registry_id="ours",
    )
    tools = replace(
        make_tools(engine, "public,private", tmp_path),
        engine_certificates=EngineCertificates(local_engine.directory / "etc" / "certs.d"),
    )
    make_image(local_engine.docker_host, "mutual/app:1", layer_bytes=(50_000,))
    try:
        async with aiohttp.ClientSession(auto_decompress=False) as session:

            async def answer(request: web.Request) -> web.StreamResponse:
                secure = {"X-Forwarded-Proto": "https"}
                return await relay(session, registry.host, request, added=secure)

            async with open_fake(answer, tls=context, listen=address) as front:
                yield Scenario(tools, local_engine, front.host, tls)
    finally:
        registry.stop()


async def test_an_engine_pushes_and_pulls_with_certificates_that_the_worker_stored(
    scenario: Scenario,
) -> None:
    installing = scenario.tls.model_copy(update={"install_ca": True})

    await scenario.test(installing)
    digest = await scenario.push(installing)
    assert digest
    name = f"{scenario.host}/{REPOSITORY}"
    await images.remove(scenario.tools.engine, f"{name}:1")
    await images.remove(scenario.tools.engine, "mutual/app:1")
    pulled = await scenario.pull(installing, digest)
    stored = sorted(path.name for path in scenario.folder.iterdir())
    with pytest.raises(NegativeResultError) as refused:
        await scenario.test(scenario.tls)

    assert pulled == digest
    assert stored == ["ca.crt", "client.cert", "client.key"]
    assert refused.value.fault().code == FaultCode.TLS_UNKNOWN_CA
    assert list(scenario.folder.iterdir()) == []


async def test_where_only_the_engine_lacks_the_ca_the_file_is_named(scenario: Scenario) -> None:
    with pytest.raises(NegativeResultError) as refused:
        await scenario.test(scenario.tls)
    with pytest.raises(EngineError) as failed:
        await scenario.push(scenario.tls)

    fault = refused.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.TLS_UNKNOWN_CA, Stage.ENGINE)
    report = refused.value.report
    assert isinstance(report, ProbeReport)
    assert stage(report, Stage.PUSH).outcome == "ok"
    assert failed.value.code == FaultCode.TLS_UNKNOWN_CA
    for remedy in (fault.remedy, failed.value.remedy):
        assert f"{scenario.folder}/ca.crt" in remedy and "installCa: true" in remedy


async def test_an_engine_without_the_client_certificate_is_told_which_files_it_needs(
    scenario: Scenario,
) -> None:
    scenario.local.trust(scenario.host, scenario.tls.ca_certificate.encode())

    with pytest.raises(NegativeResultError) as refused:
        await scenario.test(scenario.tls)

    fault = refused.value.fault()
    assert (fault.code, fault.stage) == (FaultCode.TLS_CLIENT_CERT, Stage.ENGINE)
    assert f"{scenario.folder}/client.cert and client.key" in fault.remedy
