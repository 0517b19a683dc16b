"""The origin of a source: the server to which alone its login is sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from shared.errors import InvalidInputError, SourceError
from shared.faults import FaultCode
from shared.jobs.sources import GitSource
from shared.networks import RegistryNetworks
from shared.ssh.address import SshAddress, is_ssh
from worker.builds.sources.git.lfs import find_endpoint
from worker.builds.sources.git.lfs_ssh import open_endpoint
from worker.builds.sources.git.refs import Advertisement, fetch_refs
from worker.builds.sources.git.remote import GitRemote, Remote, open_remote
from worker.builds.sources.git.ssh import SshRemote, SshSession, open_session
from worker.builds.sources.git.submodules import is_same_origin


@dataclass(frozen=True)
class Origin:
    """The origin of a source; ``session`` is open if it is behind SSH."""

    source: GitSource
    secret: SecretStr | None
    networks: RegistryNetworks
    session: SshSession | None = None

    async def fetch_refs(self, url: str) -> Advertisement:
        """Fetch the refs of a repository; only one of this origin gets the login.

        Raises:
            SourceError: the URL is not supported here, or an error of `fetch_refs`.
            RefusedNetworkError: the host has an address that is not allowed here.
        """
        if not is_ssh(url):
            return await fetch_refs(await self._open(url))
        address = parse_address(url)
        if self.session is None:
            raise SourceError(
                FaultCode.SOURCE_INVALID,
                f"the submodule is behind SSH at {address.host}, for which there is no deploy key",
                remedy="Give it an https:// URL or a relative one (../name.git) in .gitmodules.",
            )
        return await self.session.open(address).fetch_refs()

    async def open_lfs(self, remote: GitRemote, named: str) -> Remote:
        """Open the endpoint of a repository's LFS files; ``.lfsconfig`` may name another one.

        Raises:
            SourceError: the endpoint is not supported, or the git server names none.
            RefusedNetworkError: the host has an address that is not allowed here.
        """
        if named:
            return await self._open(find_endpoint(remote.url, named))
        if isinstance(remote, SshRemote):
            return await open_endpoint(remote, self.networks)
        assert isinstance(remote, Remote)  # noqa: S101 - there are two kinds
        return Remote(find_endpoint(remote.url), remote.addresses, remote.authorization)

    async def _open(self, url: str) -> Remote:
        is_own = self.session is None and is_same_origin(url, self.source.url)
        token = self.secret if is_own else None
        return await open_remote(url, self.source.username, token, self.networks)


@asynccontextmanager
async def open_origin(
    source: GitSource, secret: SecretStr | None, networks: RegistryNetworks, folder: Path
) -> AsyncIterator[Origin]:
    """Open the origin of a source; ``secret`` is its token or its deploy key.

    Raises:
        SourceError: the URL is not valid, or an error of `open_session`.
    """
    if not is_ssh(source.url):
        yield Origin(source, secret, networks)
        return
    address = parse_address(source.url)
    async with open_session(address, secret, source.host_keys, networks, folder) as session:
        yield Origin(source, secret, networks, session)


def parse_address(url: str) -> SshAddress:
    """Raise `SourceError` (``source_invalid``) unless the URL is a valid one of SSH."""
    try:
        return SshAddress.parse(url.strip())
    except InvalidInputError as error:
        raise SourceError(FaultCode.SOURCE_INVALID, error.message, remedy=error.remedy) from error
