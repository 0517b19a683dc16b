"""The certificates of registries in the directory where the server's Docker Engine looks for them.

```text
/etc/docker/certs.d/HOST:PORT/
  ca.crt  client.cert  client.key     read by the Engine for each connection, without a restart
```

Only with ``installCa`` of a registry the worker writes there. Its files begin with a line that
names the registry and the digest of the rest: a file without that line, or one that was changed
since, is somebody else's and stays as it is.
"""

import asyncio
import hashlib
import os
import re
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from shared.faults import FAULTS, FaultCode
from shared.reference import parse_registry
from worker.login import Login
from worker.oci.transport.certificate import CERTIFICATES_DIRECTORY

MODES = {"ca.crt": 0o644, "client.key": 0o600, "client.cert": 0o644}
"""The files by name, in the order in which they are written: an Engine needs each key's .cert."""

_MARK = re.compile(rb"# Written by Wharfinger for registry (\S+), sha256 ([0-9a-f]{64})\n")
_ADVISED = frozenset({FaultCode.TLS_UNKNOWN_CA, FaultCode.TLS_CLIENT_CERT})

log = structlog.get_logger()


@dataclass
class EngineCertificates:
    """The directory, and why certificates could not be stored there, by the registry's name."""

    directory: Path = CERTIFICATES_DIRECTORY
    problems: dict[str, str] = field(default_factory=dict)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )

    async def install(self, login: Login) -> None:
        """Store the certificates of the login's registry, if it says so; remove what is outdated.

        A directory that this worker may not write to is no error: the Engine may trust the registry
        by other means, and otherwise says that it does not.
        """
        if not login.tls.registry_id:
            return
        async with self._locks[login.host]:
            problem = await asyncio.to_thread(self._install, login)
        if problem and self.problems.get(login.host) != problem:
            log.warning("certificates_not_installed", registry=login.host, reason=problem)
        self.problems.pop(login.host, None)
        if problem:
            self.problems[login.host] = problem

    def advise(self, remedy: str, code: FaultCode, registry: str, login: Login | None) -> str:
        """Return a remedy that names the files and what keeps the worker from storing them."""
        if code not in _ADVISED or remedy != FAULTS[code].remedy:
            return remedy
        folder = self.directory / registry
        files = f"{folder}/ca.crt"
        if code is FaultCode.TLS_CLIENT_CERT:
            files = f"{folder}/client.cert and client.key"
        tls = login.tls if login else None
        is_stored = tls and (
            tls.ca_certificate if code is FaultCode.TLS_UNKNOWN_CA else tls.client_certificate
        )
        if not is_stored:
            return remedy.replace("/etc/docker/certs.d/HOST:PORT", str(folder))
        if problem := self.problems.get(registry):
            return f"The worker could not store {files} for Docker: {problem}. Store it by hand."
        return (
            f"Docker on this server does not use what is stored with the registry: store {files} "
            "on this server (no restart needed), or let the worker do it with registry.update "
            "(installCa: true)."
        )

    def _install(self, login: Login) -> str:
        folder, tls = self.directory / parse_registry(login.host).name, login.tls
        contents = {
            "ca.crt": tls.ca_certificate,
            "client.key": tls.client_key.get_secret_value(),
            "client.cert": tls.client_certificate,
        }
        problems = []
        for name in MODES:
            content = contents[name] if tls.install_ca else ""
            try:
                problems.append(_store(folder / name, content, tls.registry_id))
            except OSError as error:
                problems.append(f"{folder / name}: {error.strerror}")
        return "; ".join(problem for problem in problems if problem)


def _store(path: Path, content: str, registry_id: str) -> str:
    """Write, replace or remove one file of ours; return why another one is left as it is."""
    present = _read(path)
    owner = _find_owner(present) if present is not None else None
    if not content:
        if owner == registry_id:
            path.unlink(missing_ok=True)
        return ""
    wanted = _mark(content, registry_id)
    if present == wanted:
        return ""
    if present is not None and owner is None:
        is_same = content.strip().encode() in present
        return "" if is_same else f"{path} is there, and was not written by Wharfinger"
    _write(path, wanted)
    return ""


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _mark(content: str, registry_id: str) -> bytes:
    encoded = content.encode()
    digest = hashlib.sha256(encoded).hexdigest()
    return (
        f"# Written by Wharfinger for registry {registry_id}, sha256 {digest}\n".encode() + encoded
    )


def _find_owner(content: bytes) -> str | None:
    """Return the id of the registry for which we wrote a file; ``None`` if it is not as written."""
    found = _MARK.match(content)
    if found is None or hashlib.sha256(content[found.end() :]).hexdigest() != found[2].decode():
        return None
    return found[1].decode()


def _write(path: Path, content: bytes) -> None:
    """Write a file at once: it is there as a whole, with its mode, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Docker reads files by their last part, so it does not read this one.
    handle, name = tempfile.mkstemp(prefix=".wharfinger-", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, MODES[path.name])
            file.write(content)
            file.flush()
            os.fsync(handle)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
