"""Images that are missing or damaged at the registry."""

from aiohttp import web

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Stage, reading
from tests.faults.responses import page, redirect, refuses


def _body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _with_body(answer: web.Response, body: bytes) -> web.Response:
    headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
    return web.Response(status=answer.status, headers=headers, body=body)


IMAGES = (
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
    ),
)
