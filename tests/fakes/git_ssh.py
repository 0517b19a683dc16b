"""A git server behind a real sshd on a loopback port, which any user may run.

``authorized_keys`` has a forced command, as at the large git hosts: it runs ``git-upload-pack`` for
the repositories of one directory, and ``git-lfs-authenticate`` where there is an LFS endpoint.
"""

import asyncio
import getpass
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.ssh.keys import DeployKey
from tests.fakes.git import Repository
from tests.waiting import wait_until
from worker.local.processes import free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""The directory that sshd needs if root runs it."""

SHELL = """\
#!/bin/sh
set -- $SSH_ORIGINAL_COMMAND
path=$(echo "$2" | tr -d "'")
path=${{path#/}}
case $1 in
  git-upload-pack) cd "{root}" && exec git-upload-pack "$path" ;;
  git-lfs-authenticate) exec cat "{root}/lfs.json" ;;
esac
echo "no such command" >&2
exit 1
"""
CONFIGURATION = """\
ListenAddress {address}:{port}
HostKey {root}/host_key
PidFile none
AuthorizedKeysFile {root}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
AcceptEnv GIT_PROTOCOL
LogLevel ERROR
MaxStartups 100
"""


@dataclass
class SshGitServer:
    """Repositories behind SSH; ``process`` is the sshd."""

    root: Path
    port: int
    address: str = "127.0.0.1"
    process: asyncio.subprocess.Process | None = None

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def fingerprint(self) -> str:
        shown = subprocess.check_output(["ssh-keygen", "-lf", self.root / "host_key.pub"])
        return shown.decode().split()[1]

    @property
    def known_hosts(self) -> str:
        return f"[{self.address}]:{self.port} {(self.root / 'host_key.pub').read_text()}"

    def url(self, name: str) -> str:
        return f"ssh://{self.user}@{self.address}:{self.port}/{name}"

    def create(self, name: str) -> Repository:
        repository = Repository(self.root / name, self.root / f"{name}.work")
        repository.create("sha1")
        return repository

    def authorize(self, key: DeployKey) -> None:
        line = f'restrict,command="{self.root}/shell" {key.public_line}\n'
        (self.root / "authorized_keys").write_text(line)

    def offer_lfs(self, url: str, authorization: str) -> None:
        answer = {"href": url, "header": {"Authorization": authorization}, "expires_in": 60}
        (self.root / "lfs.json").write_text(json.dumps(answer))

    def make_host_key(self, kind: str = "ed25519") -> None:
        for name in ("host_key", "host_key.pub"):
            (self.root / name).unlink(missing_ok=True)
        words = ("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(self.root / "host_key"))
        subprocess.run(words, check=True)

    async def start(self) -> None:
        assert SSHD
        self.process = await asyncio.create_subprocess_exec(
            *(SSHD, "-D", "-e", "-f", str(self.root / "sshd_config"))
        )
        await wait_until(self._answers)

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(self.address, self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            await self.process.wait()
            self.process = None


@asynccontextmanager
async def open_ssh_git_server(
    root: Path, address: str = "127.0.0.1"
) -> AsyncIterator[SshGitServer]:
    """Serve until the block is left."""
    if SSHD is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("NO SSH IS TESTED: there is no sshd here (apt-get install openssh-server)")
    server = SshGitServer(root, free_port(address), address)
    configuration = CONFIGURATION.format(root=root, address=address, port=server.port)
    (root / "sshd_config").write_text(configuration)
    (root / "shell").write_text(SHELL.format(root=root))
    (root / "shell").chmod(0o755)
    if os.getuid() == 0:
        await asyncio.to_thread(PRIVILEGE_SEPARATION.mkdir, mode=0o755, exist_ok=True)
    server.make_host_key()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
