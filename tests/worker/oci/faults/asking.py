"""Ask one registry by a test, a pull and a push of our own client, and compare the verdicts."""

from collections.abc import Awaitable, Callable

from shared.errors import RegistryError
from shared.jobs.diagnosis import ProbeReport
from tests.worker.oci.parts import open_client
from worker.login import Login
from worker.oci.probe import ProbeRequest, probe
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.uploads import Uploads
from worker.oci.transport.settings import ConnectionSettings

REPOSITORY = "team/app"


async def probe_registry(
    host: str, settings: ConnectionSettings, login: Login | None = None
) -> ProbeReport:
    return await probe(ProbeRequest(host, login, repository=REPOSITORY), settings)


async def fail_pull(
    host: str, settings: ConnectionSettings, login: Login | None = None
) -> RegistryError:
    return await _fail(
        lambda client: manifests.fetch(client, REPOSITORY, "1"), host, settings, login
    )


async def fail_push(
    host: str, settings: ConnectionSettings, login: Login | None = None
) -> RegistryError:
    return await _fail(lambda client: Uploads(client, REPOSITORY).start(), host, settings, login)


async def ask(
    host: str, settings: ConnectionSettings, login: Login | None = None
) -> dict[str, str]:
    """Return the codes of a test, a pull and a push, which all fail."""
    fault = (await probe_registry(host, settings, login)).fault()
    return {
        "test": fault.code if fault else "ok",
        "pull": (await fail_pull(host, settings, login)).code,
        "push": (await fail_push(host, settings, login)).code,
    }


def everywhere(code: str) -> dict[str, str]:
    return {"test": code, "pull": code, "push": code}


async def _fail(
    work: Callable[[RegistryClient], Awaitable[object]],
    host: str,
    settings: ConnectionSettings,
    login: Login | None,
) -> RegistryError:
    async with open_client(host, settings, login) as client:
        try:
            await work(client)
        except RegistryError as error:
            return error
    raise AssertionError("it succeeded")
