"""A real registry for one machine, as our own child: the distribution project's.

```text
DIRECTORY/
  config.yml  htpasswd  registry.log
  data/       blobs and manifests
```
"""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

import bcrypt

from shared.errors import SetupError
from worker.files import write_atomically
from worker.local.processes import Child, on_free_port

PROGRAM = "docker-registry"
_LISTENING = '"listening on '
READY_WITHIN = timedelta(seconds=15)
BCRYPT_ROUNDS = 4
"""The fewest: a password is hashed at each request, with ten rounds 64 times as long."""

MAX_PASSWORD_BYTES = 72
"""The bytes that bcrypt reads of a password; the registry's htpasswd knows no other method."""


@dataclass(frozen=True)
class TokenRealm:
    """The token server that a registry trusts: its URL, its names and its certificate (PEM)."""

    url: str
    service: str
    issuer: str
    certificate: Path


@dataclass(frozen=True)
class Listener:
    """The endpoint that is notified of pushes and pulls: a URL, and its ``Authorization``."""

    url: str
    authorization: str = field(repr=False)


@dataclass
class LocalRegistry:
    """One running registry; ``host`` is how images name it."""

    child: Child
    address: str
    port: int

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        users: Mapping[str, str] | None = None,
        certificate: tuple[Path, Path] | None = None,
        token_realm: TokenRealm | None = None,
        listener: Listener | None = None,
        bcrypt_rounds: int = BCRYPT_ROUNDS,
        deletes: bool = True,
        wrapper: Sequence[str] = (),
    ) -> Self:
        """Start a registry that keeps its images in ``directory``; ``port`` is a free one.

        ``users`` are passwords by name; without them and without ``token_realm`` everybody is let
        in. ``certificate`` is a chain and its key: without it plain HTTP is spoken. ``deletes``:
        whether images may be deleted. ``wrapper`` is as in `Child.start`.

        Raises:
            SetupError: the program is missing, a password cannot be kept, or it does not come up.
        """
        if shutil.which(PROGRAM) is None:
            raise SetupError(
                "there is no docker-registry on this machine",
                remedy="Install Debian's package docker-registry.",
            )
        directory.mkdir(parents=True, exist_ok=True)
        parts = _make_auth(directory, users, token_realm, bcrypt_rounds) | _tell(listener)
        directory = directory.absolute()
        configure = partial(
            _make_configuration, directory, address, parts, certificate, deletes=deletes
        )
        start = partial(cls._start, directory, address, configure, wrapper)
        return on_free_port(address, start) if port is None else start(port)

    @classmethod
    def _start(
        cls,
        directory: Path,
        address: str,
        configure: Callable[[int], Mapping[str, object]],
        wrapper: Sequence[str],
        port: int,
    ) -> Self:
        configuration = directory / "config.yml"
        configuration.touch(mode=0o600)
        configuration.write_text(json.dumps(configure(port), indent=2))  # JSON is YAML
        log = directory / "registry.log"
        log.unlink(missing_ok=True)
        argv = [PROGRAM, "serve", str(configuration)]
        registry = cls(Child.start("registry", argv, log=log, wrapper=wrapper), address, port)
        try:
            registry.child.wait_until(registry._is_ready, deadline=READY_WITHIN)
        except BaseException:
            registry.child.kill()
            raise
        return registry

    @property
    def host(self) -> str:
        return f"{self.address}:{self.port}"

    def replace_users(self, users: Mapping[str, str]) -> None:
        """Let in these users only, from the next request on."""
        lines = "".join(_make_line(name, word, BCRYPT_ROUNDS) for name, word in users.items())
        write_atomically(self.child.log.parent / "htpasswd", lines)

    def stop(self) -> None:
        """End it; what it stores stays."""
        self.child.stop()

    def _is_ready(self) -> bool:
        # Its own word for it: a port that answers may be another program's, and one in another
        # network namespace may not answer us.
        return self.child.log.exists() and _LISTENING in self.child.log.read_text(errors="replace")


def _make_configuration(
    directory: Path,
    address: str,
    parts: Mapping[str, object],
    certificate: tuple[Path, Path] | None,
    port: int,
    *,
    deletes: bool,
) -> dict[str, object]:
    tls = {"certificate": str(certificate[0]), "key": str(certificate[1])} if certificate else None
    return {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": deletes},
        },
        "http": {
            "addr": f"{address}:{port}",
            "secret": secrets.token_hex(16),
            **({"tls": tls} if tls else {}),
        },
        **parts,
    }


def _make_auth(
    directory: Path,
    users: Mapping[str, str] | None,
    realm: TokenRealm | None,
    rounds: int,
) -> dict[str, object]:
    if realm:
        token = {
            "realm": realm.url,
            "service": realm.service,
            "issuer": realm.issuer,
            "rootcertbundle": str(realm.certificate),
        }
        return {"auth": {"token": token}}
    if users is None:
        return {}
    file = directory / "htpasswd"
    file.touch(mode=0o600)
    file.write_text("".join(_make_line(name, word, rounds) for name, word in users.items()))
    return {"auth": {"htpasswd": {"realm": "registry", "path": str(file.absolute())}}}


def _tell(listener: Listener | None) -> dict[str, object]:
    if listener is None:
        return {}
    endpoint = {
        "name": "listener",
        "url": listener.url,
        "headers": {"Authorization": [listener.authorization]},
        "timeout": "5s",
        "threshold": 3,
        "backoff": "1s",
    }
    return {"notifications": {"endpoints": [endpoint]}}


def _make_line(name: str, password: str, rounds: int) -> str:
    encoded = password.encode()
    if not name or ":" in name or not name.isprintable():
        raise SetupError(f"htpasswd cannot hold this username: {name!r}")
    if len(encoded) > MAX_PASSWORD_BYTES or b"\0" in encoded:
        raise SetupError(f"htpasswd cannot hold the password of {name}")
    return f"{name}:{bcrypt.hashpw(encoded, bcrypt.gensalt(rounds)).decode()}\n"
