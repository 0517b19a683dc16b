"""The file of a backup: a zip archive, whose secrets only the passphrase opens.

```text
manifest.json    format, versions, and size and SHA-256 of each part
keys.json        the vault's keys and other secrets, AES-256-GCM with a key of scrypt
database.dump    PostgreSQL's custom format
contexts/ID      uploaded build contexts, if they were asked for
```

The manifest is authenticated with the secrets, and the manifest covers all other parts. So a file
that was altered is refused, whatever was altered in it.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import struct
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from shared.errors import InvalidInputError, SetupError, WharfError

FORMAT = 1
MANIFEST, KEYS, DATABASE, CONTEXTS = "manifest.json", "keys.json", "database.dump", "contexts/"
CHUNK = 1024**2
MAX_DOCUMENT = 256 * 1024**2
COST = 2**17
"""scrypt's N, with r = 8 and p = 1: 128 MiB of memory and some tenths of a second a guess."""

MAX_COST = 2**20
NONCE_BYTES = 12

_UNREADABLE = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, struct.error),
    *(ValueError, LookupError, OSError),
)
"""What `zipfile` raises for a file that was cut off or altered."""

_CONTEXT = re.compile(rf"{CONTEXTS}[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}")
_SECRETS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


class Part(BaseModel):
    """The size and the hexadecimal SHA-256 of one part."""

    size_bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a backup is: ``schema_revision`` is that of the database's tables."""

    model_config = ConfigDict(extra="ignore")

    format: int
    created_at: str
    version: str = ""
    schema_revision: str = ""
    postgres_version: int = 0
    parts: dict[str, Part] = Field(default_factory=dict)


class _Wrapped(BaseModel):
    salt: str
    nonce: str
    sealed: str
    cost: int


@dataclass
class Writer:
    """Writes a backup; it has its name once `finish` has returned."""

    path: Path
    draft: Path
    archive: zipfile.ZipFile
    parts: dict[str, Part] = field(default_factory=dict)

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Add one part."""
        digest, size = hashlib.sha256(), 0
        with self.archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as part:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                part.write(chunk)
        self.parts[name] = Part(size_bytes=size, sha256=digest.hexdigest())

    def finish(self, manifest: Manifest, content: Mapping[str, str], passphrase: SecretStr) -> None:
        """Add the manifest and the secrets, and give the file its name."""
        document = manifest.model_copy(update={"parts": self.parts}).model_dump_json().encode()
        self.archive.writestr(MANIFEST, document)
        self.archive.writestr(KEYS, _wrap(content, passphrase, document))
        self.archive.close()
        with self.draft.open("rb") as file:
            os.fsync(file.fileno())
        self.draft.replace(self.path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Open a new backup, which only its owner can read; nothing is left if it is not finished.

    Raises:
        SetupError: there is a file of that name, or it cannot be written.
    """
    if path.exists():
        raise SetupError(f"{path} exists already", remedy="Choose another name.")
    try:
        # With mode 0600.
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        draft = Path(name)
        try:
            with os.fdopen(number, "wb") as file, zipfile.ZipFile(file, "w") as archive:
                yield Writer(path, draft, archive)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class Backup:
    """A checked backup; ``secrets`` are files by name."""

    archive: zipfile.ZipFile
    manifest: Manifest
    secrets: Mapping[str, str] = field(repr=False)

    def contexts(self) -> Iterator[str]:
        """Yield the names of the uploaded contexts in it."""
        return (name for name in self.manifest.parts if name.startswith(CONTEXTS))

    def read(self, name: str) -> Iterator[bytes]:
        """Yield one part in chunks."""
        with self.archive.open(name) as part:
            while chunk := part.read(CHUNK):
                yield chunk

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path, passphrase: SecretStr) -> Iterator[Self]:
        """Open a backup and check all of it.

        Raises:
            SetupError: the file cannot be read.
            InvalidInputError: it is no backup, not whole, of a newer format, or the passphrase is
                wrong.
        """
        with _opened(path) as archive:
            try:
                backup = cls._check(archive, path, passphrase)
            except WharfError:
                raise
            except _UNREADABLE as error:
                raise _damaged(path) from error
            yield backup

    @classmethod
    def _check(cls, archive: zipfile.ZipFile, path: Path, passphrase: SecretStr) -> Self:
        names = archive.namelist()
        if MANIFEST not in names or KEYS not in names:
            raise InvalidInputError(f"{path} is no backup of Wharfinger")
        document = _read_document(archive, MANIFEST, path)
        try:
            manifest = Manifest.model_validate_json(document)
        except ValidationError as error:
            raise _damaged(path) from error
        if manifest.format > FORMAT:
            raise InvalidInputError(
                f"{path} has format {manifest.format}, and this version reads {FORMAT}",
                remedy="Use the version of Wharfinger that made it, or a newer one.",
            )
        found = _unwrap(_read_document(archive, KEYS, path), passphrase, document, path)
        expected = sorted([*manifest.parts, MANIFEST, KEYS])
        is_known = all(name == DATABASE or _CONTEXT.fullmatch(name) for name in manifest.parts)
        if sorted(names) != expected or not is_known or DATABASE not in manifest.parts:
            raise _damaged(path)
        backup = cls(archive, manifest, found)
        for name, part in manifest.parts.items():
            if backup._measure(name) != part:
                raise _damaged(path)
        return backup

    def _measure(self, name: str) -> Part:
        digest, size = hashlib.sha256(), 0
        for chunk in self.read(name):
            digest.update(chunk)
            size += len(chunk)
        return Part(size_bytes=size, sha256=digest.hexdigest())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from error
    except _UNREADABLE as error:
        raise _damaged(path) from error
    with archive:
        yield archive


def _read_document(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).file_size > MAX_DOCUMENT:
        raise _damaged(path)
    return archive.read(name)


def _damaged(path: Path) -> InvalidInputError:
    return InvalidInputError(
        f"{path} is not whole, or was altered", remedy="Take another copy of the backup."
    )


def _wrap(content: Mapping[str, str], passphrase: SecretStr, manifest: bytes) -> str:
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(NONCE_BYTES)
    key = _derive(passphrase, salt, COST)
    sealed = AESGCM(key).encrypt(nonce, json.dumps(dict(content)).encode(), manifest)
    wrapped = _Wrapped(
        salt=base64.b64encode(salt).decode(),
        nonce=base64.b64encode(nonce).decode(),
        sealed=base64.b64encode(sealed).decode(),
        cost=COST,
    )
    return wrapped.model_dump_json()


def _unwrap(document: bytes, passphrase: SecretStr, manifest: bytes, path: Path) -> dict[str, str]:
    try:
        wrapped = _Wrapped.model_validate_json(document)
        salt, nonce, sealed = (
            base64.b64decode(text, validate=True)
            for text in (wrapped.salt, wrapped.nonce, wrapped.sealed)
        )
        is_sound = 1 < wrapped.cost <= MAX_COST and wrapped.cost.bit_count() == 1
        if not is_sound or len(nonce) != NONCE_BYTES:
            raise _damaged(path)
        clear = AESGCM(_derive(passphrase, salt, wrapped.cost)).decrypt(nonce, sealed, manifest)
        return _SECRETS.validate_json(clear)
    except InvalidTag:
        raise InvalidInputError(
            f"the passphrase is wrong, or {path} was altered",
            remedy="Give the passphrase with which the backup was made.",
        ) from None
    except WharfError:
        raise
    except ValueError:
        raise _damaged(path) from None


def _derive(passphrase: SecretStr, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(
        passphrase.get_secret_value().encode()
    )
