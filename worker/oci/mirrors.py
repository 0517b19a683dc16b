"""The registry mirrors of a Docker Engine: it pulls the images of Docker Hub from them first.

Our own client sends no login to a mirror: a login is for its registry alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yarl import URL

from shared.errors import InvalidInputError, RegistryError
from shared.faults import FaultCode
from shared.reference import RegistryHost, parse_registry
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.listing import list_tags
from worker.oci.registry.manifests import MISSING
from worker.oci.transport.settings import ConnectionSettings
from worker.registry_tls import RegistryTls

LOGIN_CODES = frozenset(
    {FaultCode.AUTH_MISSING, FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.PULL_DENIED}
)
"""Errors of a mirror that requires a login."""


@dataclass(frozen=True)
class MirrorAnswer:
    """The answer of the first mirror that works; ``is_open`` if it requires no login."""

    name: str
    is_open: bool


async def ask_mirrors(
    mirrors: Sequence[str], repository: str, settings: ConnectionSettings
) -> MirrorAnswer:
    """Ask the mirrors in the Engine's order for a repository, and return the first answer.

    Raises:
        RegistryError: no mirror answers; the message has the cause of each.
    """
    failed: list[str] = []
    code = FaultCode.NOT_A_REGISTRY
    for url in mirrors:
        try:
            return await _ask(url, repository, settings)
        except RegistryError as error:
            code = FaultCode(error.code)
            failed.append(error.message)
        except InvalidInputError as error:
            failed.append(f"{url}: {error.message}")
    causes = "; ".join(failed)
    raise RegistryError(code, f"no registry mirror of Docker works: {causes}")


async def _ask(url: str, repository: str, settings: ConnectionSettings) -> MirrorAnswer:
    host, settings = _parse(url, settings)
    async with RegistryClient(host, None, settings) as client:
        await client.ping()
        try:
            await list_tags(client, repository, 1)
        except RegistryError as error:
            if error.code in LOGIN_CODES:
                return MirrorAnswer(host.name, is_open=False)
            if error.code not in MISSING:
                raise
    return MirrorAnswer(host.name, is_open=True)


def _parse(url: str, settings: ConnectionSettings) -> tuple[RegistryHost, ConnectionSettings]:
    """Return the host; the Engine uses plain HTTP for a mirror whose URL says so."""
    try:
        parsed = URL(url)
        authority = parsed.authority
    except ValueError:
        parsed, authority = URL(), url
    host = parse_registry(authority)
    if parsed.scheme == "http":
        permitted = RegistryTls(plain_http=True)
        settings = replace(settings, insecure=settings.insecure | {host.name}, tls=permitted)
    return host, settings
