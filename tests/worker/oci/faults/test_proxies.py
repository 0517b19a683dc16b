"""Registries that only the proxy of the server's Engine reaches."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, Stage
from tests.fakes.certificates import Authority
from tests.fakes.connect_proxy import open_connect_proxy
from tests.fakes.scripted_registry import ScriptedRegistry
from tests.fakes.web import open_fake
from tests.worker.oci.faults.asking import ask, everywhere, fail_pull, probe_registry
from tests.worker.oci.parts import make_login, make_settings, outcomes
from worker.oci.transport.settings import EngineProxy

NAME = "registry.example.test"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_registry_that_only_the_proxy_reaches_passes(
    auth: str, authority: Authority, tmp_path: Path
) -> None:
    registry = ScriptedRegistry()
    registry.auth = "bearer" if auth == "bearer" else "basic"
    async with (
        open_connect_proxy() as proxy,
        open_fake(registry.answer, tls=authority.context(NAME)) as fake,
    ):
        host = f"{NAME}:{fake.port}"
        trusted = make_settings(certificates=authority.trust(tmp_path, host))
        settings = replace(trusted, proxy=EngineProxy(proxy.url))
        report = await probe_registry(host, settings, make_login(host))
        error = await fail_pull(host, settings, make_login(host))

    assert report.fault() is None
    assert outcomes(report)[Stage.DNS] is Outcome.WARNING
    assert "that this login may push to team/app" in report.verified
    assert error.code == FaultCode.IMAGE_NOT_FOUND


@pytest.mark.parametrize(
    "status", ["407 Proxy Authentication Required", "403 Forbidden", "503 Service Unavailable"]
)
async def test_a_proxy_that_refuses_is_told(status: str) -> None:
    async with open_connect_proxy(status) as proxy:
        settings = replace(make_settings(), proxy=EngineProxy(proxy.url))
        found = await ask(NAME, settings, make_login(NAME))
        error = await fail_pull(NAME, settings, make_login(NAME))

    assert found == everywhere(FaultCode.PROXY_ERROR)
    assert f"HTTP {status[:3]}" in error.evidence


async def test_a_proxy_for_plain_http_serves_insecure_registries_only() -> None:
    async with open_fake(ScriptedRegistry().answer) as proxy:  # a proxy gets the whole URL
        engine_proxy = EngineProxy(http_url=f"http://{proxy.host}")
        settings = replace(make_settings(insecure=frozenset({NAME})), proxy=engine_proxy)
        report = await probe_registry(NAME, settings, make_login(NAME))
        strict = replace(make_settings(), proxy=engine_proxy)
        found = await ask(NAME, strict, make_login(NAME))

    assert report.fault() is None
    assert found == everywhere(FaultCode.DNS_NOT_FOUND)
    assert {request.headers["Host"] for request in proxy.requests} == {NAME}


async def test_a_host_outside_the_proxys_reach_is_asked_directly() -> None:
    async with open_connect_proxy() as proxy:
        settings = replace(make_settings(), proxy=EngineProxy(proxy.url, "example.test"))
        found = await ask(NAME, settings, make_login(NAME))

    assert found == everywhere(FaultCode.DNS_NOT_FOUND) and proxy.targets == []
