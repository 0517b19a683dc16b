"""The certificates of registries in the directory where the server's Docker Engine looks for them.

```text
/etc/docker/certs.d/HOST:PORT/
  ca.crt  client.cert  client.key     read by the Engine for each connection, without a restart
```

Only with ``installCa`` of a registry the worker writes there. Its files begin with a line that
names the registry and the digest of the rest: a file without that line, or one that was changed
since, is somebody else's and stays as it is. Files that no registry needs any more are removed when
the database says so: a worker reports its files at its start and every minute, so none is forgotten
while it is away. It knows its own by a list in its state directory, as the workers of several
installations may share the directory.
"""

import asyncio
import hashlib
import json
import os
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.faults import FAULTS, FaultCode
from shared.reference import parse_registry
from worker.files import write_atomically
from worker.login import Login
from worker.oci.transport.certificate import CERTIFICATES_DIRECTORY

MODES = {"ca.crt": 0o644, "client.key": 0o600, "client.cert": 0o644}
"""The files by name, in the order in which they are written: an Engine needs each key's .cert."""

_MARK = re.compile(rb"# Written by Wharfinger for registry (\S+), sha256 ([0-9a-f]{64})\n")
_REGISTRIES = TypeAdapter(dict[str, str])
_ADVISED = frozenset({FaultCode.TLS_UNKNOWN_CA, FaultCode.TLS_CLIENT_CERT})

log = structlog.get_logger()


class StoredCertificate(BaseModel):
    """A file that this worker has stored, as it reports it.

    ``registry_id`` is the registry for which it was written. ``sha256`` is the digest of the PEM;
    for a client's key, which is secret, that of the certificate beside it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    registry_id: str
    host: str
    file: str
    sha256: str


@dataclass
class WrittenFiles:
    """The files that this worker has written, with the registry of each; kept at ``path``."""

    path: Path | None = None
    registries: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path) -> "WrittenFiles":
        """Read the list; one that cannot be read is empty."""
        try:
            return cls(path, _REGISTRIES.validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            return cls(path)

    def note(self, file: Path, registry_id: str) -> None:
        """Record a file before it is written."""
        with self._lock:
            key = f"{file.parent.name}/{file.name}"
            if self.registries.get(key) != registry_id:
                self.registries[key] = registry_id
                self._save()

    def forget(self, stored: StoredCertificate) -> None:
        with self._lock:
            self.registries.pop(f"{stored.host}/{stored.file}", None)
            self._save()

    def _save(self) -> None:
        if self.path is not None:
            write_atomically(self.path, json.dumps(self.registries, indent=1))


@dataclass
class EngineCertificates:
    """The directory, and why certificates could not be stored there, by the registry's name."""

    directory: Path = CERTIFICATES_DIRECTORY
    written: WrittenFiles = field(default_factory=WrittenFiles)
    problems: dict[str, str] = field(default_factory=dict)
    _locks: defaultdict[str, asyncio.Lock] = field(
        default_factory=lambda: defaultdict(asyncio.Lock)
    )
    _found: frozenset[StoredCertificate] = frozenset()
    _installed: set[str] = field(default_factory=set)

    async def install(self, login: Login) -> None:
        """Store the certificates of the login's registry, if it says so; remove what is outdated.

        A directory that this worker may not write to is no error: the Engine may trust the registry
        by other means, and otherwise says that it does not.
        """
        if not login.tls.registry_id:
            return
        async with self._locks[login.host]:
            if login.tls.install_ca:
                self._installed.add(login.host)
            problem = await asyncio.to_thread(self._install, login)
        if problem and self.problems.get(login.host) != problem:
            log.warning("certificates_not_installed", registry=login.host, reason=problem)
        self.problems.pop(login.host, None)
        if problem:
            self.problems[login.host] = problem

    async def find(self) -> list[StoredCertificate]:
        """Return the files of this worker that nobody has changed since."""
        self._installed.clear()
        self._found = await asyncio.to_thread(self._find)
        return list(self._found)

    async def remove(self, unwanted: Iterable[StoredCertificate]) -> None:
        """Remove files that `find` returned, except those that were stored anew since.

        A client's certificate goes before its key: an Engine needs the key of each certificate.
        """
        for stored in sorted(self._found.intersection(unwanted), key=lambda one: one.file):
            async with self._locks[stored.host]:
                is_used = stored.host in self._installed
                removed = not is_used and await asyncio.to_thread(self._remove, stored)
            if removed:
                log.info("certificate_removed", registry=stored.host, file=stored.file)

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

    def _find(self) -> frozenset[StoredCertificate]:
        return frozenset(self._read_written())

    def _read_written(self) -> Iterator[StoredCertificate]:
        for key, registry_id in list(self.written.registries.items()):
            host, _, name = key.rpartition("/")
            folder = self.directory / host
            mark = _try_mark(folder / name)
            shown = _try_mark(folder / "client.cert") if name == "client.key" else mark
            if mark is not None and mark.registry_id == registry_id:
                yield StoredCertificate(
                    registry_id=registry_id,
                    host=host,
                    file=name,
                    sha256=shown.sha256 if shown else "",
                )

    def _remove(self, stored: StoredCertificate) -> bool:
        """Remove one file; return false if it is no longer ours, or cannot be removed."""
        path = self.directory / stored.host / stored.file
        try:
            mark = _find_mark(_read(path))
            if mark is None or mark.registry_id != stored.registry_id:
                return False
            path.unlink()
            self.written.forget(stored)
        except OSError as error:
            log.warning("certificate_not_removed", file=str(path), reason=error.strerror)
            return False
        return True

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
                problems.append(self._store(folder / name, content, tls.registry_id))
            except OSError as error:
                problems.append(f"{folder / name}: {error.strerror}")
        return "; ".join(problem for problem in problems if problem)

    def _store(self, path: Path, content: str, registry_id: str) -> str:
        """Write, replace or remove one file of ours; return why another one is left as it is."""
        present = _read(path)
        mark = _find_mark(present)
        if not content:
            if mark is not None and mark.registry_id == registry_id:
                path.unlink(missing_ok=True)
            return ""
        wanted = _mark(content, registry_id)
        if present == wanted:
            return ""
        if present is not None and mark is None:
            is_same = content.strip().encode() in present
            return "" if is_same else f"{path} is there, and was not written by Wharfinger"
        self.written.note(path, registry_id)
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


@dataclass(frozen=True)
class _Mark:
    """The registry for which a file was written, and the digest of its certificate or key."""

    registry_id: str
    sha256: str


def _find_mark(content: bytes | None) -> _Mark | None:
    """Return the mark of a file of ours; ``None`` if there is none, or it is not as written."""
    found = _MARK.match(content) if content is not None else None
    if content is None or found is None:
        return None
    digest = hashlib.sha256(content[found.end() :]).hexdigest()
    return _Mark(found[1].decode(), digest) if digest == found[2].decode() else None


def _try_mark(path: Path) -> _Mark | None:
    try:
        return _find_mark(_read(path))
    except OSError:
        return None  # somebody else's, whatever it is


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
