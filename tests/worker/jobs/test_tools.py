"""The lookup at the registry after a cancelled push tells whether the cancel was too late."""

import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from shared.reference import parse_reference
from tests.fakes.web import open_fake
from tests.worker.oci.parts import make_login
from tests.worker.parts import open_tools
from worker.jobs.tools import LOOKUP_PAUSES, Tools

OCI = "application/vnd.oci.image.manifest.v1+json"
IMAGE_ID, OTHER_ID = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": IMAGE_ID, "size": 2}
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": CONFIG, "layers": []})
DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


class SlowRegistry:
    """A registry that shows the tag after a number of lookups."""

    def __init__(self, lookups: int) -> None:
        self.left = lookups

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if "/manifests/" not in request.path:
            return web.json_response({})
        self.left -= 1
        if self.left >= 0:
            unknown = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return web.json_response(unknown, status=404)
        headers = {"Docker-Content-Digest": DIGEST, "Content-Type": OCI}
        return web.Response(text=MANIFEST, headers=headers)


@pytest.mark.parametrize(
    ("lookups", "image_id", "found"),
    [
        (0, IMAGE_ID, DIGEST),
        (len(LOOKUP_PAUSES) - 1, IMAGE_ID, DIGEST),
        (len(LOOKUP_PAUSES), IMAGE_ID, None),
        (0, OTHER_ID, None),
    ],
)
async def test_a_tag_that_appears_a_moment_later_is_found(
    tools: Tools, lookups: int, image_id: str, found: str | None
) -> None:
    async with open_fake(SlowRegistry(lookups)) as fake:
        reference = parse_reference(f"{fake.host}/team/app:1")

        assert await tools.find_image_digest(reference, make_login(fake.host), image_id) == found
