"""Images that are missing or damaged at the registry."""

import hashlib
import json
from collections.abc import Sequence

from aiohttp import web

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Stage, reading
from tests.faults.responses import page, redirect, refuses, says
from tests.faults.server import Respond
from tests.faults.table.statuses import RETRIED_SECONDS
from tests.faults.verdicts import Operation


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _with_body(answer: web.Response, body: bytes) -> web.Response:
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
    return web.Response(status=answer.status, headers=headers, body=body)


INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CHART = "application/vnd.cncf.helm.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
NOWHERE = f"sha256:{'a' * 64}"


def shows(kind: str, document: dict[str, object]) -> Respond:
    """Return a responder with another manifest; children of an index do not exist."""
    text = json.dumps({"schemaVersion": 2, "mediaType": kind, **document})
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path.rpartition("/")[2] not in {"1", digest}:
            body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return web.json_response(body, status=404)
        headers = {"Docker-Content-Digest": digest}
        return web.Response(text=text, content_type=kind, headers=headers)

    return respond


def index_for(platforms: Sequence[str]) -> Respond:
    """Return a responder with an index for these architectures of Linux."""
    children = [
        {
            "mediaType": MANIFEST,
            "digest": NOWHERE,
            "size": 400,
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture in platforms
    ]
    return shows(INDEX, {"manifests": children})


def _artifact(config: str, layer: str) -> Respond:
    parts = [{"mediaType": layer, "digest": NOWHERE, "size": 100}]
    return shows(
        MANIFEST,
        {"config": {"mediaType": config, "digest": NOWHERE, "size": 2}, "layers": parts},
    )


async def _cut_layer(request: web.Request) -> web.StreamResponse | None:
    if request.method != "GET":
        return None
    response = web.StreamResponse(headers={"Content-Length": "20480"})
    await response.prepare(request)
    await response.write(bytes(1000))
    if request.transport is not None:
        request.transport.abort()
    return response


IMAGES = (
    Fault(
        "a Helm chart",
        {**reading(Code.NOT_AN_IMAGE), Operation.COPY_FROM: (Code.IMAGE_INCOMPLETE,)},
        Stage.MANIFEST,
        _artifact(CHART, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
    ),
    Fault(
        "a signature of cosign",
        {**reading(Code.NOT_AN_IMAGE), Operation.COPY_FROM: (Code.IMAGE_INCOMPLETE,)},
        Stage.MANIFEST,
        _artifact(
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
        ),
    ),
    Fault(
        "an index without this platform",
        {**reading(Code.PLATFORM_MISSING), Operation.COPY_FROM: (Code.IMAGE_INCOMPLETE,)},
        Stage.MANIFEST,
        index_for(("s390x", "riscv64")),
    ),
    Fault(
        "this platform's child is gone",
        reading(Code.IMAGE_INCOMPLETE),
        Stage.MANIFEST,
        index_for(("amd64", "arm64")),
    ),
    Fault(
        "the manifest is no JSON",
        reading(Code.REGISTRY_ERROR, Code.NOT_AN_IMAGE, Code.NOT_A_REGISTRY, Code.DIGEST_MISMATCH),
        Stage.MANIFEST,
        says(200, "no manifest", MANIFEST),
    ),
    Fault(
        "a layer is cut in the middle",
        reading(Code.CONN_RESET, Code.IMAGE_INCOMPLETE, Code.DIGEST_MISMATCH),
        Stage.LAYER,
        _cut_layer,
        within_seconds=120.0,
    ),
    Fault(
        "the tag does not exist",
        reading(Code.IMAGE_NOT_FOUND),
        Stage.MANIFEST,
        refuses(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    ),
    Fault(
        "the repository to read does not exist",
        reading(Code.IMAGE_NOT_FOUND, Code.REPO_MISSING),
        Stage.MANIFEST,
        refuses(404, "NAME_UNKNOWN", "repository name not known to registry"),
    ),
    Fault(
        "a page with 404 for the image",
        reading(Code.IMAGE_NOT_FOUND, Code.REPO_MISSING),
        Stage.MANIFEST,
        page(404, "Error 404 (Not Found)"),
    ),
    Fault(
        "the configuration is gone",
        reading(Code.IMAGE_INCOMPLETE),
        Stage.CONFIG,
        refuses(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    ),
    Fault(
        "a layer is gone",
        reading(Code.IMAGE_INCOMPLETE),
        Stage.LAYER,
        refuses(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    ),
    Fault(
        "a layer has other bytes",
        reading(Code.DIGEST_MISMATCH),
        Stage.LAYER,
        edit=lambda _, answer: _with_body(answer, bytes(len(_body(answer)))),
    ),
    Fault(
        "the configuration has other bytes",
        reading(Code.DIGEST_MISMATCH),
        Stage.CONFIG,
        edit=lambda _, answer: _with_body(answer, bytes(len(_body(answer)))),
    ),
    Fault(
        "the storage of layers refuses",
        reading(Code.CONN_REFUSED),
        Stage.LAYER,
        redirect("https://127.0.0.1:9/blob"),
        within_seconds=RETRIED_SECONDS,
    ),
)
