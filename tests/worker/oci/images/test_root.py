"""A mistyped tag or repository is met with the one that was probably meant."""

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


@pytest.mark.parametrize(
    ("known", "remedy"),
    [
        (["team/shop", "team/blog"], "Did you mean the repository team/shop? "),
        (["team/blog"], ""),
        (None, ""),
    ],
    ids=["spelled alike", "other ones", "not permitted"],
)
async def test_a_repository_that_is_spelled_alike_is_named_with_one_question_more(
    settings: ConnectionSettings, known: list[str] | None, remedy: str
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.json_response(
                {}, headers={"Docker-Distribution-Api-Version": "registry/2.0"}
            )
        asked.append(request.path)
        if request.path == "/v2/_catalog" and known is not None:
            more = {"Link": f"</v2/_catalog?n=100&last={known[-1]}>; rel=next"}
            return web.json_response({"repositories": known}, headers=more)
        code = "UNSUPPORTED" if request.path == "/v2/_catalog" else "NAME_UNKNOWN"
        errors = [{"code": code, "message": "no"}]
        return web.json_response({"errors": errors}, status=404)

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await fetch_root(client, parse_reference(f"{fake.host}/team/shpo:1"))

    assert caught.value.code == FaultCode.REPO_MISSING
    assert caught.value.remedy == f"{remedy}{FAULTS[FaultCode.REPO_MISSING].remedy}"
    assert asked == ["/v2/team/shpo/manifests/1", "/v2/_catalog"]
