"""A server's worker that ends every job as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.jobs.store.release import Released
from tests.api.deploying import CONTAINER, DIGEST, reconcile
from tests.api.fleet import TestServer, good_report

RUNS = {
    "reference": f"ghcr.io/myorg/my-app@{DIGEST}",
    "digest": DIGEST,
    "image_id": DIGEST,
    "container_id": CONTAINER,
    "gap_seconds": 0,
}
RESULTS: dict[str, dict[str, Any]] = {
    "registry.test": good_report(),
    "server.check": {"engine_version": "28.0.0", "milliseconds": 3.5},
    "application.logs": {"lines": ["2026-07-01T09:00:00Z good"]},
    "application.control": {"runtime": "container", "state": "running", "changed": True},
    "compose.pull": {"compose_file": "services: {}\n", "images": [], "without_image": []},
    "container.replace": RUNS,
    "image.repositories": {"names": ["myorg/my-app"]},
    "image.tags": {"names": ["1", "2"], "next": "n=2&last=2"},
    "image.inspect": {
        "reference": "ghcr.io/myorg/my-app:1",
        "digest": DIGEST,
        "media_type": "application/vnd.oci.image.index.v1+json",
        "size_bytes": 5,
        "platforms": [{"platform": "linux/amd64", "digest": DIGEST, "size_bytes": 5}],
        "attachments": [{"kind": "signature", "digest": DIGEST, "tag": "sha256-a.sig"}],
    },
    "signature.sign": {
        "reference": f"ghcr.io/myorg/my-app@{DIGEST}",
        "digest": DIGEST,
        "fingerprint": "sha256:5",
        "attached": [DIGEST],
    },
    "signature.verify": {
        "reference": f"ghcr.io/myorg/my-app@{DIGEST}",
        "digest": DIGEST,
        "proofs": [{"predicate_type": "signature", "fingerprint": "sha256:5", "form": "tag"}],
        "violations": [],
        "gaps": [],
    },
    "image.verify": {"reference": "x", "digest": DIGEST, "blobs": 2, "size_bytes": 5},
}
IMAGE = {"reference": "ghcr.io/myorg/my-app:1", "digest": DIGEST, "image_id": DIGEST}


@asynccontextmanager
async def working(
    server: TestServer, outcome: str = "succeeded", **more: Any
) -> AsyncIterator[list[Released]]:
    """End all jobs of a server, and what they belong to, while the block runs; give the jobs."""
    done: list[Released] = []
    task = asyncio.create_task(_work(server, done, outcome, more))
    try:
        yield done
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _work(
    server: TestServer, done: list[Released], outcome: str, more: dict[str, Any]
) -> None:
    while True:
        for job in await server.release():
            await server.claim(job)
            ended = {"result": RESULTS.get(job.kind, IMAGE)} if outcome == "succeeded" else {}
            await server.finish(job, outcome, **{**ended, **more})
            done.append(job)
            await reconcile(server)
        await asyncio.sleep(0.02)
