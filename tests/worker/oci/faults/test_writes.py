"""Writes that a registry refuses, images that are incomplete, and uploads that lead elsewhere."""

from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Stage
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.scripted_registry import ScriptedRegistry, refuses
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.faults.asking import fail_push, probe_registry
from tests.worker.oci.parts import API, make_login, make_settings, open_client
from tests.worker.oci.sample_images import MANIFEST
from worker.oci.registry import manifests
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.transport.settings import ConnectionSettings

HARBOR_QUOTA = (
    "adding 24.0 MiB of storage resource, which when updated to current usage of 1.0 GiB will "
    "exceed the configured upper limit of 1.0 GiB."
)
HARBOR_READ_ONLY = "The system is in read only mode. Any modification is prohibited."
REFUSED_WRITES = [
    (refuses(405, "UNSUPPORTED"), FaultCode.REGISTRY_READ_ONLY),
    (says(405, text="Method Not Allowed"), FaultCode.REGISTRY_READ_ONLY),
    (refuses(403, "DENIED", HARBOR_READ_ONLY), FaultCode.REGISTRY_READ_ONLY),
    (refuses(403, "DENIED", HARBOR_QUOTA), FaultCode.QUOTA_EXCEEDED),
    (refuses(403, "DENIED", "Quota has been exceeded on namespace"), FaultCode.QUOTA_EXCEEDED),
    (refuses(500, "UNKNOWN", "write: no space left on device"), FaultCode.QUOTA_EXCEEDED),
    (says(507), FaultCode.QUOTA_EXCEEDED),
    (refuses(403, "DENIED", "requested access is denied"), FaultCode.PUSH_DENIED),
    (refuses(429, "TOOMANYREQUESTS", "quota of requests"), FaultCode.RATE_LIMITED),
    (says(413, text="<html>", kind="text/html"), FaultCode.LAYER_TOO_LARGE),
]


@pytest.mark.parametrize(("answer", "code"), REFUSED_WRITES)
async def test_a_refused_upload_has_the_same_code_in_test_and_push(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    registry = ScriptedRegistry({"POST .*": answer})

    async with open_fake(registry.answer) as fake:
        report = await probe_registry(fake.host, settings, make_login(fake.host))
        error = await fail_push(fake.host, settings, make_login(fake.host))

    fault = report.fault()
    assert fault and (fault.code, fault.stage) == (code, Stage.PUSH)
    assert error.code == code


@pytest.mark.parametrize(("answer", "code"), REFUSED_WRITES)
async def test_a_refused_manifest_has_its_code(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    registry = ScriptedRegistry({"PUT .*": answer})
    manifest = Manifest(Descriptor(MANIFEST, f"sha256:{0:064}", 2), b"{}", None)

    async with (
        open_fake(registry.answer) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        with pytest.raises(RegistryError) as caught:
            await manifests.store(client, "team/app", "1", manifest)

    assert caught.value.code == code
    assert f"{fake.host}/team/app:1" in caught.value.message


async def test_a_repository_called_quota_exceeds_none(settings: ConnectionSettings) -> None:
    denied = refuses(403, "DENIED", "access to quota/read-only-mode is denied")
    registry = ScriptedRegistry({"PUT .*": denied})
    manifest = Manifest(Descriptor(MANIFEST, f"sha256:{0:064}", 2), b"{}", None)

    async with (
        open_fake(registry.answer) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        with pytest.raises(RegistryError) as caught:
            await manifests.store(client, "quota/read-only-mode", "1", manifest)

    assert caught.value.code == FaultCode.PUSH_DENIED


def _leads_to(change: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        here = URL(f"{request.scheme}://{request.host}/v2/up")
        changes = {
            "http": here.with_scheme("http").with_port(here.port),
            "port": URL(f"https://{here.host}/v2/up"),
            "host": URL("https://backend.example.test:5000/v2/up"),
            "http-host": URL("http://backend.example.test:5000/v2/up"),
        }
        return web.Response(status=202, headers={"Location": str(changes[change]), **API})

    return answer


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("http", "http://127.0.0.1:"),
        ("port", "https://127.0.0.1"),
        ("host", "https://backend.example.test:5000"),
        ("http-host", "http://backend.example.test:5000"),
    ],
)
async def test_an_upload_that_leads_elsewhere_names_both_origins(
    change: str, named: str, authority: Authority, tmp_path: Path
) -> None:
    registry = ScriptedRegistry({"POST .*": _leads_to(change)})
    async with open_fake(registry.answer, tls=authority.context("127.0.0.1")) as fake:
        trusted = authority.trust(tmp_path, fake.host)
        settings = make_settings(certificates=trusted, resolver=Names())
        report = await probe_registry(fake.host, settings, make_login(fake.host))
        error = await fail_push(fake.host, settings, make_login(fake.host))

    fault = report.fault()
    assert fault and (fault.code, fault.stage) == (FaultCode.LOCATION_MISMATCH, Stage.PUSH)
    assert error.code == FaultCode.LOCATION_MISMATCH
    assert f"https://{fake.host} " in error.message and named in error.message
    assert "X-Forwarded-Proto" in error.remedy


async def test_a_target_that_fails_is_not_said_to_be_pulled(settings: ConnectionSettings) -> None:
    registry = ScriptedRegistry({"HEAD .*": says(503)})

    async with (
        open_fake(registry.answer) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        with pytest.raises(RegistryError) as caught:
            await manifests.describe(client, "team/app", "1")

    assert caught.value.message == f"cannot look up {fake.host}/team/app:1: the registry failed"
