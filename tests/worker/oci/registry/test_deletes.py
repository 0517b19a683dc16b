"""Deletion of manifests, and registries that refuse it."""

import pytest
from aiohttp import web

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from tests.fakes.token_server import ALL, TokenServer
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.copying import copy, make_two_platform_image
from tests.worker.oci.parts import API, RegistryFactory, basic, make_login, open_client
from tests.worker.oci.sample_images import (
    Image,
    RepositoryFixture,
    digest_of,
    make_image,
    make_index,
)
from worker.local.registry import LocalRegistry
from worker.oci.registry import manifests
from worker.oci.transport.settings import ConnectionSettings

IMAGE = make_two_platform_image("deletes")


async def delete(
    host: str, settings: ConnectionSettings, digest: str = IMAGE.digest, user: str = "alice"
) -> bool:
    async with open_client(host, settings, make_login(host, user)) as client:
        return await manifests.delete(client, "team/app", digest)


async def expect_refusal(
    host: str, settings: ConnectionSettings, digest: str = IMAGE.digest, user: str = "alice"
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await delete(host, settings, digest, user)
    return caught.value


async def has(host: str, settings: ConnectionSettings, digest: str = IMAGE.digest) -> bool:
    async with open_client(host, settings, make_login(host)) as client:
        return await manifests.has(client, "team/app", digest)


@pytest.fixture
async def registry_with_tokens(
    open_registry: LocalRegistry, token_registry: LocalRegistry, settings: ConnectionSettings
) -> str:
    """A registry with a token server that holds the image."""
    await RepositoryFixture(open_registry.host, "deletes").put("1", IMAGE)
    await copy(f"{open_registry.host}/deletes:1", f"{token_registry.host}/team/app:1", settings)
    return token_registry.host


async def test_an_image_is_deleted_once_with_its_tags(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    host = registries.start().host
    repository = RepositoryFixture(host, "team/app", basic())
    await repository.put("1", IMAGE)
    await repository.put("latest", IMAGE)
    assert await has(host, settings)

    assert await delete(host, settings)
    assert not await delete(host, settings)

    assert not await has(host, settings)
    assert (
        (await repository.get("manifests/1"))[0]
        == (await repository.get("manifests/latest"))[0]
        == 404
    )


async def test_manifests_shared_with_another_index_remain(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    host = registries.start().host
    shared = make_image(b"shared")
    one, other = make_index(shared, make_image(b"1", architecture="arm64")), make_index(shared)
    repository = RepositoryFixture(host, "team/app", basic())
    await repository.put("1", one)
    await repository.put("2", other)

    assert await delete(host, settings, one.digest)

    await repository.require("2", other)


async def test_deleting_a_missing_image_is_not_an_error(
    registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    host = registries.start().host

    assert not await delete(host, settings)
    assert not await has(host, settings)


async def test_a_token_is_requested_with_the_right_to_delete(
    registry_with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.fake.requests.clear()

    assert await delete(registry_with_tokens, settings)

    assert token_server.scopes == ["repository:team/app:pull,delete"]
    assert not await has(registry_with_tokens, settings)


async def test_a_user_with_pull_rights_only_cannot_delete(
    registry_with_tokens: str, settings: ConnectionSettings
) -> None:
    error = await expect_refusal(registry_with_tokens, settings, user="bob")

    assert error.code == FaultCode.PUSH_DENIED and not error.retryable
    assert error.message == (
        f"this login has no permission to write to {registry_with_tokens}/team/app"
    )
    assert "grants: pull" in error.evidence
    assert await has(registry_with_tokens, settings)


async def test_a_token_server_without_delete_gets_a_request_for_every_action(
    registry_with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.refused = frozenset({"delete"})
    token_server.rights = {"alice": ALL | {"*"}}
    token_server.fake.requests.clear()

    assert await delete(registry_with_tokens, settings)

    # The registry refused the third scope with each of two new tokens.
    requested = list(dict.fromkeys(token_server.scopes))
    assert requested == [
        f"repository:team/app:{actions}"
        for actions in ("pull,delete", "pull,push,delete", "pull,push", "*")
    ]


async def test_a_wrong_password_is_tried_once(
    registry_with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.fake.requests.clear()

    async with open_client(
        registry_with_tokens, settings, make_login(registry_with_tokens, secret="wrong-wrong")
    ) as client:
        with pytest.raises(RegistryError) as caught:
            await manifests.delete(client, "team/app", IMAGE.digest)

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wrong-wrong" not in repr(caught.value.fault())
    assert len(token_server.fake.requests) == 1


@pytest.mark.parametrize("image", [IMAGE, make_image(b"not there")])
async def test_a_registry_without_deletion_is_reported_as_such(
    image: Image, registries: RegistryFactory, settings: ConnectionSettings
) -> None:
    host = registries.start(deletes=False).host
    await RepositoryFixture(host, "team/app", basic()).put("1", IMAGE)

    error = await expect_refusal(host, settings, image.digest)

    assert error.code == FaultCode.DELETE_UNSUPPORTED and not error.retryable
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in error.remedy
    assert await has(host, settings)


def refusal(status: int, code: str) -> Answer:
    return says(status, text=f'{{"errors":[{{"code":"{code}"}}]}}', kind="application/json")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal(405, "UNSUPPORTED"), FaultCode.DELETE_UNSUPPORTED),
        (refusal(400, "UNSUPPORTED"), FaultCode.DELETE_UNSUPPORTED),
        (refusal(412, "PRECONDITION"), FaultCode.DELETE_UNSUPPORTED),
        (refusal(403, "DENIED"), FaultCode.PUSH_DENIED),
        (refusal(401, "UNAUTHORIZED"), FaultCode.PUSH_DENIED),
        (refusal(429, "TOOMANYREQUESTS"), FaultCode.RATE_LIMITED),
        (refusal(500, "UNKNOWN"), FaultCode.REGISTRY_ERROR),
        (says(404, text="<html>", kind="text/html"), FaultCode.NOT_A_REGISTRY),
    ],
)
async def test_a_refused_deletion_has_its_code_and_is_requested_once_by_basic(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async def require_basic(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        missing = says(404, headers=API)
        return await (answer if request.method == "DELETE" else missing)(request)

    async with (
        open_fake(require_basic) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        assert not await manifests.has(client, "team/app", IMAGE.digest)
        with pytest.raises(RegistryError) as caught:
            await manifests.delete(client, "team/app", IMAGE.digest)

    assert caught.value.code == code
    assert len([line for line in fake.lines if line.startswith("DELETE")]) == 1


async def test_a_tag_cannot_be_deleted(settings: ConnectionSettings) -> None:
    async with open_fake(says(202)) as fake, open_client(fake.host, settings) as client:
        for request in (manifests.delete, manifests.has):
            with pytest.raises(InvalidReferenceError):
                await request(client, "team/app", "latest")
        with pytest.raises(InvalidReferenceError):
            await manifests.delete(client, "../app", digest_of(b""))

    assert fake.requests == []
