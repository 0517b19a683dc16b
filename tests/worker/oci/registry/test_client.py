"""The client's requests against real registries, and against incomplete ones."""

import hashlib
import json

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from shared.errors import CredentialError, InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from tests.fakes.token_server import TokenServer
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.parts import basic, make_login, open_client
from worker.local.registry import LocalRegistry
from worker.oci.registry import manifests
from worker.oci.registry.listing import list_repositories, list_tags
from worker.oci.registry.manifest import Descriptor
from worker.oci.registry.uploads import Upload, Uploads
from worker.oci.transport.settings import ConnectionSettings

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OTHER_DIGEST = f"sha256:{'0' * 64}"


async def put_manifest(host: str, repository: str, tag: str, headers: dict[str, str]) -> None:
    """Store an empty index without the client."""
    url = f"http://{host}/v2/{repository}/manifests/{tag}"
    headers = {"Content-Type": INDEX, **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.put(url, data=MANIFEST, headers=headers) as answer,
    ):
        assert answer.status == 201, await answer.text()


async def test_a_tag_and_its_digest_have_the_same_descriptor(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host
    await put_manifest(host, "team/described", "1", basic())

    async with open_client(host, settings, make_login(host)) as client:
        by_tag = await manifests.describe(client, "team/described", "1")
        by_digest = await manifests.describe(client, "team/described", by_tag.digest)

    assert by_tag == by_digest == Descriptor(INDEX, DIGEST, len(MANIFEST))


async def test_a_tag_that_does_not_exist_is_not_found(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host
    await put_manifest(host, "team/found", "1", basic())

    async with open_client(host, settings, make_login(host)) as client:
        with pytest.raises(RegistryError) as caught:
            await manifests.describe(client, "team/found", "2")

    assert caught.value.code == FaultCode.IMAGE_NOT_FOUND


async def test_a_wrong_password_is_not_reported_as_a_missing_right(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host

    async with open_client(host, settings, make_login(host, secret="wrong")) as client:
        with pytest.raises(RegistryError) as caught:
            await manifests.describe(client, "team/app", "1")

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wrong" not in str(caught.value.fault())


async def test_an_anonymous_request_to_a_locked_registry_lacks_a_login(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    async with open_client(basic_registry.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await list_tags(client, "team/app", 1)

    assert caught.value.code == FaultCode.AUTH_MISSING


async def test_rights_are_requested_when_they_are_needed(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    async with open_client(host, settings, make_login(host)) as client:
        upload = await Uploads(client, "team/app").start()
        await Uploads(client, "team/app").cancel(upload)
        with pytest.raises(RegistryError) as caught:
            await list_tags(client, "team/app", 1)

    assert caught.value.code == FaultCode.REPO_MISSING
    assert token_server.scopes == [
        "repository:team/app:pull,push",
        "repository:team/app:pull,push,delete",
    ]


async def test_a_token_without_the_right_is_not_sent_to_the_registry(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    host = token_registry.host

    async with open_client(host, settings, make_login(host, "bob")) as client:
        with pytest.raises(RegistryError) as caught:
            await Uploads(client, "team/app").start()

    assert caught.value.code == FaultCode.PUSH_DENIED
    assert "grants: pull" in caught.value.evidence
    assert len(token_server.fake.requests) == 1


async def test_tags_are_listed(basic_registry: LocalRegistry, settings: ConnectionSettings) -> None:
    host = basic_registry.host
    for number in range(5):
        await put_manifest(host, "team/tags", f"v{number}", basic())

    async with open_client(host, settings, make_login(host)) as client:
        everything = await list_tags(client, "team/tags", 100)
        assert sorted(everything) == ["v0", "v1", "v2", "v3", "v4"]
        assert len(await list_tags(client, "team/tags", 3)) == 3


async def test_repositories_are_listed(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    host = basic_registry.host
    async with open_client(host, settings, make_login(host)) as client:
        upload = await Uploads(client, "team/stored").start()
        async with (
            aiohttp.ClientSession(headers=basic()) as session,
            session.put(upload.location.update_query(digest=DIGEST), data=MANIFEST) as answer,
        ):
            assert answer.status == 201, await answer.text()

        assert "team/stored" in await list_repositories(client, 100)


def by_pages(pages: dict[str, tuple[list[str], str]]) -> Answer:
    """List ``tags`` by the query ``last``, with a ``Link`` to the next page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        tags, following = pages[request.query.get("last", "")]
        headers = {"Link": following} if following else {}
        return web.json_response({"name": "x", "tags": tags}, headers=headers)

    return answer


async def test_circular_and_foreign_links_between_pages_are_not_followed(
    settings: ConnectionSettings,
) -> None:
    pages = {
        "": (["a", "b"], '</v2/x/tags/list?last=b>; rel="next"'),
        "b": (["c"], '</v2/x/tags/list?last=c>; rel="next"'),
        "c": (["a"], '</v2/x/tags/list>; rel="next"'),
    }
    async with open_fake(by_pages(pages)) as fake, open_client(fake.host, settings) as client:
        assert await list_tags(client, "x", 50) == ("a", "b", "c")
    assert len(fake.requests) == 3

    away = {"": (["a"], '<http://192.0.2.1/v2/x/tags/list>; rel="next"')}
    async with open_fake(by_pages(away)) as fake, open_client(fake.host, settings) as client:
        assert await list_tags(client, "x", 50) == ("a",)


@pytest.mark.parametrize(
    "answer",
    [
        says(200, text="<html>", kind="text/html"),
        says(200, text="{}", kind="application/json"),
        says(200, text='{"tags": [1]}', kind="application/json"),
        says(200, text='{"tags": ["' + "x" * 2_000_000 + '"]}', kind="application/json"),
    ],
)
async def test_a_malformed_list_is_an_error(answer: Answer, settings: ConnectionSettings) -> None:
    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await list_tags(client, "x", 1)

    assert caught.value.code in {FaultCode.NOT_A_REGISTRY, FaultCode.REGISTRY_ERROR}


async def test_no_tags_at_all_are_an_empty_list(settings: ConnectionSettings) -> None:
    answer = says(200, text='{"name":"x","tags":null}', kind="application/json")
    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        assert await list_tags(client, "x", 1) == ()


async def test_a_digest_is_computed_if_headers_are_missing(settings: ConnectionSettings) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=405 if "old" in request.path else 200)
        return web.Response(body=MANIFEST, content_type=INDEX)

    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        found = await manifests.describe(client, "new", "1")
        assert found == await manifests.describe(client, "old", DIGEST)
        with pytest.raises(RegistryError) as caught:
            await manifests.describe(client, "old", OTHER_DIGEST)

    assert found == Descriptor(INDEX, DIGEST, len(MANIFEST))
    assert caught.value.code == FaultCode.DIGEST_MISMATCH
    assert INDEX in fake.requests[0].headers["Accept"]


async def test_a_manifest_belongs_to_its_image_id(settings: ConnectionSettings) -> None:
    kind = "application/vnd.oci.image.manifest.v1+json"
    body = json.dumps({"mediaType": kind, "config": {"digest": OTHER_DIGEST}})
    digest = f"sha256:{hashlib.sha256(body.encode()).hexdigest()}"

    async with (
        open_fake(says(200, text=body, kind=kind)) as fake,
        open_client(fake.host, settings) as client,
    ):
        manifest = await manifests.fetch(client, "team/app", "1")

    assert manifest.descriptor.digest == digest
    assert manifest.is_of(OTHER_DIGEST) and manifest.is_of(digest)
    assert not manifest.is_of(DIGEST)


@pytest.mark.parametrize("body", ["[]", "{}", '{"config": []}', '{"config": {"digest": 1}}', "{"])
async def test_a_manifest_without_a_configuration_belongs_to_its_digest_only(
    settings: ConnectionSettings, body: str
) -> None:
    async with (
        open_fake(says(200, text=body, kind=INDEX)) as fake,
        open_client(fake.host, settings) as client,
    ):
        manifest = await manifests.fetch(client, "team/app", "1")

    assert manifest.config is None
    assert manifest.is_of(manifest.descriptor.digest)


async def test_a_web_page_is_not_a_manifest(settings: ConnectionSettings) -> None:
    page = says(200, text="<html>", kind="text/html")
    async with open_fake(page) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await manifests.describe(client, "x", "1")

    assert caught.value.code == FaultCode.NOT_A_REGISTRY


@pytest.mark.parametrize(
    ("repository", "target"), [("UP", "1"), ("../x", "1"), ("x", "a/b"), ("x", "sha256:1")]
)
async def test_names_that_would_change_the_address_are_refused(
    repository: str, target: str, settings: ConnectionSettings
) -> None:
    answer = says(200)
    async with open_fake(answer) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(InvalidReferenceError):
            await manifests.describe(client, repository, target)

    assert fake.requests == []


async def test_an_upload_without_a_location_violates_the_protocol(
    settings: ConnectionSettings,
) -> None:
    async with open_fake(says(202)) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await Uploads(client, "x").start()

    assert caught.value.code == FaultCode.REGISTRY_ERROR


async def test_a_refused_cancellation_is_an_error(settings: ConnectionSettings) -> None:
    refusal = says(405, text='{"errors":[{"code":"UNSUPPORTED"}]}', kind="application/json")
    async with open_fake(refusal) as fake, open_client(fake.host, settings) as client:
        with pytest.raises(RegistryError) as caught:
            await Uploads(client, "x").cancel(Upload(URL(f"http://{fake.host}/v2/x/u")))

    assert caught.value.code == FaultCode.DELETE_UNSUPPORTED


async def test_a_login_for_another_host_is_refused(settings: ConnectionSettings) -> None:
    with pytest.raises(CredentialError):
        open_client("127.0.0.1:5000", settings, make_login("127.0.0.1:5001"))


async def test_a_revoked_token_is_replaced_once(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.is_opaque = True  # this registry refuses it, as if it were revoked
    host = token_registry.host

    async with open_client(host, settings, make_login(host)) as client:
        with pytest.raises(RegistryError) as caught:
            await list_tags(client, "team/app", 1)
        requested = len(token_server.fake.requests)
        token_server.is_opaque = False
        with pytest.raises(RegistryError) as missing:
            await list_tags(client, "team/app", 1)

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert missing.value.code == FaultCode.REPO_MISSING
    assert requested == 1 and len(token_server.fake.requests) == 2
