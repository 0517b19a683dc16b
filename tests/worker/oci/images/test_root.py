"""A mistyped tag is met with the one that was probably meant."""

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FAULTS, FaultCode
from shared.reference import parse_reference
from tests.fakes.web import open_fake
from tests.worker.oci.parts import open_client
from worker.oci.images.root import fetch_root
from worker.oci.transport.settings import ConnectionSettings

GENERAL = FAULTS[FaultCode.IMAGE_NOT_FOUND].remedy


@pytest.mark.parametrize(
    ("typed", "tags", "remedy"),
    [
        ("1.24.0-alpin", ["1.24.0-alpine", "1.23.0"], "Did you mean the tag 1.24.0-alpine? "),
        ("prod", ["1.24.0-alpine"], ""),
        ("prod", None, ""),
    ],
)
async def test_a_tag_that_is_spelled_alike_is_named(
    settings: ConnectionSettings, typed: str, tags: list[str] | None, remedy: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/tags/list") and tags is not None:
            return web.json_response({"name": "app", "tags": tags})
        if request.path == "/v2/":
            return web.json_response(
                {}, headers={"Docker-Distribution-Api-Version": "registry/2.0"}
            )
        errors = [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]
        return web.json_response({"errors": errors}, status=404)

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await fetch_root(client, parse_reference(f"{fake.host}/app:{typed}"))

    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND
    assert caught.value.remedy == f"{remedy}{GENERAL}"
