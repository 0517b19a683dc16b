"""Sample images: made here, stored and read back without the client."""

import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from worker.oci.registry.manifest import Descriptor

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def describe(media_type: str, content: bytes) -> Descriptor:
    return Descriptor(media_type, digest_of(content), len(content))


def make_blob(seed: str, size_bytes: int) -> bytes:
    return random.Random(seed).randbytes(size_bytes)  # noqa: S311 - bytes to be repeated, not secret


@dataclass(frozen=True)
class Image:
    """An image or index with all its blobs.

    ``manifests`` (type and content) are in the order of storing; the last one has the tag.
    """

    blobs: Mapping[str, bytes]
    manifests: Sequence[tuple[str, bytes]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return digest_of(self.manifests[-1][1])

    @property
    def size_bytes(self) -> int:
        return sum(len(blob) for blob in self.blobs.values())

    @property
    def digests(self) -> list[str]:
        """The digests of all manifests."""
        return [digest_of(content) for _, content in self.manifests]


def make_image(*layers: bytes, architecture: str = "amd64", foreign: Sequence[bytes] = ()) -> Image:
    """Make an image; layers in ``foreign`` have a URL and are stored in no registry."""
    diffs = [digest_of(layer) for layer in (*layers, *foreign)]
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }
    ).encode()
    parts = [_part(LAYER, layer) for layer in layers]
    parts += [_part(FOREIGN, one) | {"urls": ["https://a.invalid/1"]} for one in foreign]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _part(CONFIG, config),
        "layers": parts,
    }
    # No serialiser writes these spaces, so a changed byte is detected.
    content = json.dumps(document, indent=3).encode() + b"\n \n"
    blobs = {digest_of(blob): blob for blob in (*layers, config)}
    return Image(blobs, [(MANIFEST, content)])


def make_index(*images: Image) -> Image:
    """Make an index of images or of other indexes."""
    platforms = ["amd64", "arm64", "s390x", "riscv64"]
    entries = [
        _part(*image.manifests[-1]) | {"platform": {"os": "linux", "architecture": platforms[n]}}
        for n, image in enumerate(images)
    ]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    content = json.dumps(document, indent=5).encode()
    return Image(
        {digest: blob for image in images for digest, blob in image.blobs.items()},
        [*(manifest for image in images for manifest in image.manifests), (INDEX, content)],
    )


@dataclass(frozen=True)
class RepositoryFixture:
    """A repository of a registry that speaks plain HTTP."""

    host: str
    repository: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def url(self, path: str) -> URL:
        return URL(f"http://{self.host}/v2/{self.repository}/{path}")

    async def put(self, tag: str, image: Image) -> None:
        await self.put_blobs(image)
        async with aiohttp.ClientSession(headers=self.headers) as session:
            for kind, content in image.manifests[:-1]:
                await self._put_manifest(session, digest_of(content), kind, content)
            await self._put_manifest(session, tag, *image.manifests[-1])

    async def put_manifest(self, name: str, kind: str, content: bytes) -> None:
        async with aiohttp.ClientSession(headers=self.headers) as session:
            await self._put_manifest(session, name, kind, content)

    async def put_blobs(self, image: Image) -> None:
        async with aiohttp.ClientSession(headers=self.headers) as session:
            for digest, blob in image.blobs.items():
                async with session.post(self.url("blobs/uploads/")) as answer:
                    location = self.url("").join(URL(answer.headers["Location"]))
                location = location.extend_query(digest=digest)
                async with session.put(location, data=io.BytesIO(blob)) as answer:
                    assert answer.status == 201, await answer.text()

    async def _put_manifest(
        self, session: aiohttp.ClientSession, name: str, kind: str, content: bytes
    ) -> None:
        url, headers = self.url(f"manifests/{name}"), {"Content-Type": kind}
        async with session.put(url, data=content, headers=headers) as answer:
            assert answer.status == 201, await answer.text()

    async def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body."""
        accept = {"Accept": f"{INDEX}, {MANIFEST}"}
        async with (
            aiohttp.ClientSession(headers={**self.headers, **accept}) as session,
            session.get(self.url(path)) as answer,
        ):
            return answer.status, await answer.read()

    async def delete(self, digest: str) -> None:
        """Delete a manifest with its tags, if it exists."""
        async with (
            aiohttp.ClientSession(headers=self.headers) as session,
            session.delete(self.url(f"manifests/{digest}")) as answer,
        ):
            assert answer.status in {202, 404}, await answer.text()

    async def require(self, tag: str, image: Image) -> None:
        """Check that all of the image is stored, byte for byte."""
        assert await self.get(f"manifests/{tag}") == (200, image.manifests[-1][1])
        for _, content in image.manifests:
            assert await self.get(f"manifests/{digest_of(content)}") == (200, content)
        for digest, blob in image.blobs.items():
            assert await self.get(f"blobs/{digest}") == (200, blob)


def _part(media_type: str, content: bytes) -> dict[str, object]:
    found = describe(media_type, content)
    return {"mediaType": media_type, "digest": found.digest, "size": found.size_bytes}
