"""Images without a network: made here, layer by layer, and loaded into an Engine.

The same arguments give the same image, down to its id and digest.
"""

import hashlib
import http.client
import io
import json
import platform
import random
import socket
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from shared.errors import SetupError
from shared.reference import parse_reference

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""This machine's architecture as images spell it."""

_SECOND = 1_000_000_000
"""In the nanoseconds of an image's configuration."""


def make_image(
    docker_host: str,
    name: str,
    *,
    layer_bytes: Sequence[int] = (1024,),
    seed: int = 0,
    files: Mapping[str, Path] | None = None,
    command: Sequence[str] = (),
    health_check: Sequence[str] = (),
    architecture: str = HERE,
) -> None:
    """Load an image into the Engine at ``unix:///…`` under ``name``.

    It has a layer of random bytes for each size, and one of ``files`` (path in the image → file of
    ours, executable; a file that occurs twice is stored once). It is held in memory while it is
    made. ``health_check`` is a command that an Engine asks each second.

    Raises:
        SetupError: the Engine does not take it.
    """
    layers = [_random_layer(f"{seed}/{index}", size) for index, size in enumerate(layer_bytes)]
    if files:
        layers.append(_files_layer(files))
    config = _config(layers, command, health_check, architecture)
    _load(docker_host, _archive(name, config, layers))


class _Entry(NamedTuple):
    """A file; ``link`` is the name of an earlier one with the same content."""

    name: str
    content: bytes
    mode: int = 0o644
    link: str = ""


def _random_layer(seed: str, size_bytes: int) -> bytes:
    content = random.Random(seed).randbytes(size_bytes)  # noqa: S311 - bytes to be repeated, not secret
    return _tar([_Entry(f"layer-{seed.replace('/', '-')}", content)])


def _files_layer(files: Mapping[str, Path]) -> bytes:
    entries: list[_Entry] = []
    first: dict[Path, str] = {}
    for name, path in ((name.lstrip("/"), path) for name, path in files.items()):
        if path in first:
            entries.append(_Entry(name, b"", 0o755, first[path]))
        else:
            entries.append(_Entry(name, path.read_bytes(), 0o755))
            first[path] = name
    return _tar(entries)


def _config(
    layers: Sequence[bytes], command: Sequence[str], health_check: Sequence[str], architecture: str
) -> bytes:
    """The image's configuration (OCI image spec, config.md), with Docker's health check."""
    checked = {"Healthcheck": {"Test": ["CMD", *health_check], "Interval": _SECOND, "Retries": 1}}
    document = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(command), **(checked if health_check else {})},
        "created": "1970-01-01T00:00:00Z",
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "wharf"} for _ in layers],
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer)}" for layer in layers]},
    }
    return json.dumps(document, sort_keys=True).encode()


def _archive(name: str, config: bytes, layers: Sequence[bytes]) -> bytes:
    """Make the archive that ``docker save`` writes and ``docker load`` reads."""
    reference = parse_reference(name)
    config_name = f"{_sha256(config)}.json"
    layer_names = [f"{_sha256(layer)}/layer.tar" for layer in layers]
    manifest = {
        "Config": config_name,
        "RepoTags": [f"{reference.name}:{reference.tag or 'latest'}"],
        "Layers": layer_names,
    }
    contents = [_Entry(name, layer) for name, layer in zip(layer_names, layers, strict=True)]
    about = _Entry("manifest.json", json.dumps([manifest]).encode())
    return _tar([*contents, _Entry(config_name, config), about])


def _tar(entries: Sequence[_Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for entry in entries:
            header = tarfile.TarInfo(entry.name)
            header.size, header.mode = len(entry.content), entry.mode
            if entry.link:
                header.type, header.linkname = tarfile.LNKTYPE, entry.link
            archive.addfile(header, io.BytesIO(entry.content))
    return buffer.getvalue()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _load(docker_host: str, archive: bytes) -> None:
    connection = _UnixConnection(docker_host.removeprefix("unix://"))
    try:
        headers = {"Content-Type": "application/x-tar"}
        connection.request("POST", "/images/load", body=archive, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except OSError as error:
        raise SetupError(f"the Docker Engine at {docker_host} takes no image: {error}") from error
    finally:
        connection.close()
    if answer.status >= 400 or "errorDetail" in text:
        raise SetupError(f"the Docker Engine at {docker_host} takes no image: {text[-300:]}")
