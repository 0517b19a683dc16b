"""Build contexts, and a base image for them that needs no network."""

import io
import tarfile
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from worker.engine.builds.files import BuildFiles
from worker.local.images import HERE, make_image

BUSYBOX = Path("/bin/busybox")
PROGRAMS = {"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX, "bin/mkdir": BUSYBOX}
"""The files of images with a shell, by their paths there. All have the same layer."""

BASE = "localhost:1/library/base:1"
"""With the containerd image store BuildKit asks the registry of a name before it takes the local
image. Nobody answers here, at once."""


def make_base(docker_host: str, name: str = BASE, *, architecture: str = HERE) -> None:
    """Make an image with a shell."""
    make_image(
        docker_host,
        name,
        files=PROGRAMS,
        command=["/bin/sh"],
        architecture=architecture,
    )


async def context(
    dockerfile: str, files: Mapping[str, bytes] | None = None
) -> AsyncIterator[bytes]:
    """Yield a tar of a Dockerfile and other files, in small chunks."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in {"Dockerfile": dockerfile.encode(), **(files or {})}.items():
            header = tarfile.TarInfo(name)
            header.size, header.mode = len(content), 0o755
            archive.addfile(header, io.BytesIO(content))
    buffer.seek(0)
    while chunk := buffer.read(64 * 1024):
        yield chunk


@asynccontextmanager
async def packed(content: AsyncIterable[bytes]) -> AsyncIterator[BuildFiles]:
    """Store a tar in a file; yield it with its Dockerfile."""
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "context.tar"
        archive.write_bytes(b"".join([chunk async for chunk in content]))
        with tarfile.open(archive) as tar:
            dockerfile = tar.extractfile("Dockerfile")
            assert dockerfile is not None
            text = dockerfile.read()
        yield BuildFiles(archive, text)
