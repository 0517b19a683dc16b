"""Read git repositories over SSH with one deploy key and pinned host keys.

ssh reports every failure of its own with the same status. So the connection and the host keys are
checked before, and the agent knows if the server has accepted the key. ssh gets only our options:
no configuration, no other key, no password, no forwarding, and the checked address.
"""

import asyncio
import os
import pwd
import shlex
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from shared.errors import InvalidInputError, SetupError, SourceError
from shared.faults import FaultCode
from shared.networks import RegistryNetworks
from shared.ssh.address import SshAddress
from shared.ssh.keys import DeployKey
from worker.builds.sources.git.agent import Agent, open_agent
from worker.builds.sources.git.refs import MAX_BYTES, Advertisement, parse_refs
from worker.builds.sources.git.remote import ANSWER_SECONDS, resolve_host
from worker.builds.sources.git.ssh_server import HostKey, check_server, run_program

SSH_FAILED = 255
"""The exit status of ssh for all failures of its own; others are those of the remote program."""

FLUSH = b"0000"
"""The end of a request in ``pkt-line`` format: nothing is wanted after the refs."""

_ALIAS = "git-server"
_ALGORITHMS = {"ssh-rsa": "rsa-sha2-512,rsa-sha2-256"}
_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "none",
    "CheckHostIP": "no",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
    "HostKeyAlias": _ALIAS,
    "IdentitiesOnly": "no",  # there are no others: the agent is ours and has one
    "IdentityFile": "none",
    "CertificateFile": "none",
    "PreferredAuthentications": "publickey",
    "AddKeysToAgent": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "ProxyCommand": "none",
    "ProxyJump": "none",
    "ControlMaster": "no",
    "ControlPath": "none",
    "CanonicalizeHostname": "no",
    "EscapeChar": "none",
    "RequestTTY": "no",
    "Compression": "no",
    "LogLevel": "ERROR",
    "ConnectTimeout": str(ANSWER_SECONDS),
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
}
_KEY_REMEDY = (
    "Add the application's public key (customGitSSHPublicKey) to the repository's deploy keys."
)


@dataclass(frozen=True)
class SshSession:
    """A checked git server, and the login for it, for the length of one fetch."""

    address: SshAddress
    options: Sequence[str]
    agent: Agent

    def open(self, address: SshAddress) -> "SshRemote":
        """Open a repository of this server.

        Raises:
            SourceError: ``source_invalid``, it is at another server, for which there is no key.
        """
        if address.origin != self.address.origin:
            raise SourceError(
                FaultCode.SOURCE_INVALID,
                f"the submodule is at {address.user}@{address.host}, and the deploy key is only "
                f"for {self.address.user}@{self.address.host}",
                remedy="Move the submodule to the same host, or give it an https:// URL in "
                ".gitmodules.",
            )
        return SshRemote(self, address)

    async def run(self, command: str, request: bytes = b"") -> "RemoteOutput":
        """Run a command on the server.

        Raises:
            SourceError: ``source_unreachable``, it does not answer in time; ``source_denied``, it
                does not accept the key; ``source_too_large``, the answer is.
        """
        host = self.address.host
        words = (*self.options, f"{self.address.user}@{self.address.hostname}", command)
        what = f"the answer of {host} to {command.partition(' ')[0]}"
        status, output, errors = await run_program("ssh", words, what, MAX_BYTES, request)
        if status == SSH_FAILED and self.agent.listings and not self.agent.signatures:
            raise SourceError(
                FaultCode.SOURCE_DENIED,
                f"{host} does not accept the deploy key for the user {self.address.user}",
                remedy=_KEY_REMEDY,
                evidence=errors,
            )
        if status == SSH_FAILED:
            raise SourceError(
                FaultCode.SOURCE_UNREACHABLE, f"{host} ended the connection", evidence=errors
            )
        return RemoteOutput(status, output, errors)


@dataclass(frozen=True)
class RemoteOutput:
    """The exit status of a program on the server, its output, and the end of its errors."""

    status: int
    output: bytes
    errors: str


@dataclass(frozen=True)
class SshRemote:
    """A repository behind SSH."""

    session: SshSession
    address: SshAddress

    @property
    def url(self) -> str:
        return str(self.address)

    @property
    def git_url(self) -> str:
        """Return the URL for git; the options of ssh have the port and the checked address."""
        return f"{self.address.user}@{self.address.hostname}:{self.address.path}"

    @property
    def git_settings(self) -> Mapping[str, str]:
        return {}

    @property
    def git_environment(self) -> Mapping[str, str]:
        return {
            "GIT_ALLOW_PROTOCOL": "ssh",
            "GIT_SSH_COMMAND": shlex.join(("ssh", *self.session.options)),
            "GIT_SSH_VARIANT": "ssh",
        }

    async def fetch_refs(self) -> Advertisement:
        """Fetch the refs of the repository.

        Raises:
            SourceError: ``source_not_found``, or an error of `SshSession.run`.
        """
        found = await self.session.run(f"git-upload-pack '{self.address.path}'", FLUSH)
        if found.status or not found.output:
            raise SourceError(
                FaultCode.SOURCE_NOT_FOUND,
                f"there is no git repository at {self.url} that the deploy key may read",
                remedy=f"Check the repository's URL. {_KEY_REMEDY}",
                evidence=found.errors,
            )
        return Advertisement(self, parse_refs(found.output))


@asynccontextmanager
async def open_session(
    address: SshAddress,
    key: SecretStr | None,
    host_keys: Sequence[str],
    networks: RegistryNetworks,
    folder: Path,
) -> AsyncIterator[SshSession]:
    """Check the git server and keep the login for it until the block ends.

    ``folder`` is made, for this user alone; it gets the server's public keys and a socket.

    Raises:
        SourceError: ``source_denied``, there is no key; ``host_key_not_pinned``,
            ``host_key_changed``, ``source_unreachable``, ``dns_not_found`` or ``dns_failure``.
        RefusedNetworkError: the host has an address that is not allowed here.
        SetupError: ssh is not installed, or cannot run here.
    """
    _require_ssh()
    if key is None:
        raise SourceError(
            FaultCode.SOURCE_DENIED,
            f"the application has no deploy key for {address.host}",
            remedy="Make one with application.generateDeployKey.",
        )
    try:
        deploy_key = DeployKey.parse(key.get_secret_value())
    except InvalidInputError as error:
        raise SourceError(FaultCode.SOURCE_DENIED, error.message, remedy=error.remedy) from None
    addresses = await resolve_host(address.hostname, networks)
    pinned = await check_server(address, addresses[0], host_keys)
    known_hosts = await asyncio.to_thread(_write_known_hosts, folder, pinned)
    async with open_agent(deploy_key, folder) as agent:
        options = {
            **_OPTIONS,
            "HostName": addresses[0],
            "Port": str(address.port),
            "UserKnownHostsFile": str(known_hosts),
            "HostKeyAlgorithms": ",".join(_ALGORITHMS.get(one.type, one.type) for one in pinned),
            "IdentityAgent": str(agent.socket),
        }
        words = ("-F", "none", *(f"-o{name}={value}" for name, value in options.items()))
        yield SshSession(address, words, agent)


def _require_ssh() -> None:
    if any(shutil.which(program) is None for program in ("ssh", "ssh-keyscan")):
        raise SetupError(
            "ssh is not installed", remedy="Install the package openssh-client on this server."
        )
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        raise SetupError(
            f"the worker's user {os.getuid()} has no name, which ssh needs",
            remedy="Run the worker as a user of /etc/passwd.",
        ) from None


def _write_known_hosts(folder: Path, pinned: Sequence[HostKey]) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    file = folder / "known_hosts"
    file.write_text("".join(f"{_ALIAS} {one.type} {one.encoded}\n" for one in pinned))
    return file
