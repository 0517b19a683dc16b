"""Images with a layer that is larger than an Engine's disk, compressed or only unpacked."""

import gzip
import io
import json
import random
import tarfile

from tests.faults.fault import Contents
from tests.worker.oci.sample_images import CONFIG, LAYER, MANIFEST, Image, digest_of
from worker.local.images import HERE

LARGE_BYTES = 60 * 2**20


def make_large_image(contents: Contents, size_bytes: int) -> Image:
    """Make an image with one layer of this size."""
    is_dense = contents is Contents.DENSE
    content = random.Random(1).randbytes(size_bytes) if is_dense else bytes(size_bytes)  # noqa: S311
    tar = _tar(content)
    layer = gzip.compress(tar, 0 if is_dense else 1)
    document = {
        "architecture": HERE,
        "os": "linux",
        "config": {"Cmd": ["/none"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]},
    }
    config = json.dumps(document).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _describe(CONFIG, config),
        "layers": [_describe(f"{LAYER}+gzip", layer)],
    }
    blobs = {digest_of(blob): blob for blob in (layer, config)}
    return Image(blobs, [(MANIFEST, json.dumps(manifest).encode())])


def _describe(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


def _tar(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("large")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
