"""Manifests that are deleted, and registries that keep them."""

import pytest
from aiohttp import web

from shared.errors import InvalidReferenceError, RegistryError
from shared.faults import FaultCode
from tests.fakes.token_server import ALL, TokenServer
from tests.fakes.web import Answer, open_fake, says
from tests.worker.oci.copying import copy, two_platforms
from tests.worker.oci.parts import Registries, basic, make_login, open_client
from tests.worker.oci.sample_images import (
    Image,
    RepositoryFixture,
    digest_of,
    make_image,
    make_index,
)
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings

IMAGE = two_platforms("deletes")


async def delete(
    host: str, settings: ConnectionSettings, digest: str = IMAGE.digest, user: str = "alice"
) -> bool:
    async with open_client(host, settings, make_login(host, user)) as client:
        return await client.delete_manifest("team/app", digest)


async def refused(
    host: str, settings: ConnectionSettings, digest: str = IMAGE.digest, user: str = "alice"
) -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        await delete(host, settings, digest, user)
    return caught.value


async def has(host: str, settings: ConnectionSettings, digest: str = IMAGE.digest) -> bool:
    async with open_client(host, settings, make_login(host)) as client:
        return await client.has_manifest("team/app", digest)


@pytest.fixture
async def with_tokens(
    open_registry: LocalRegistry, token_registry: LocalRegistry, settings: ConnectionSettings
) -> str:
    """A registry with a token server that holds the image."""
    await RepositoryFixture(open_registry.host, "deletes").put("1", IMAGE)
    await copy(f"{open_registry.host}/deletes:1", f"{token_registry.host}/team/app:1", settings)
    return token_registry.host


async def test_an_image_is_deleted_with_its_tags_and_a_second_time_it_is_not_there(
    registries: Registries, settings: ConnectionSettings
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


async def test_what_an_index_shares_with_another_one_stays(
    registries: Registries, settings: ConnectionSettings
) -> None:
    host = registries.start().host
    shared = make_image(b"shared")
    one, other = make_index(shared, make_image(b"1", architecture="arm64")), make_index(shared)
    repository = RepositoryFixture(host, "team/app", basic())
    await repository.put("1", one)
    await repository.put("2", other)

    assert await delete(host, settings, one.digest)

    await repository.require("2", other)


async def test_what_was_never_there_cannot_be_deleted_and_is_no_error(
    registries: Registries, settings: ConnectionSettings
) -> None:
    host = registries.start().host

    assert not await delete(host, settings)
    assert not await has(host, settings)


async def test_a_token_is_asked_for_the_right_to_delete(
    with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.fake.requests.clear()

    assert await delete(with_tokens, settings)

    assert token_server.scopes == ["repository:team/app:pull,delete"]
    assert not await has(with_tokens, settings)


async def test_a_user_who_may_only_read_is_told_so_and_nothing_is_deleted(
    with_tokens: str, settings: ConnectionSettings
) -> None:
    error = await refused(with_tokens, settings, user="bob")

    assert error.code == FaultCode.PUSH_DENIED and not error.retryable
    assert error.message == f"cannot delete from {with_tokens}/team/app"
    assert "grants: pull" in error.evidence
    assert await has(with_tokens, settings)


async def test_a_token_server_that_does_not_know_the_word_is_asked_for_everything(
    with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.refused = frozenset({"delete"})
    token_server.rights = {"alice": ALL | {"*"}}
    token_server.fake.requests.clear()

    assert await delete(with_tokens, settings)

    # The registry refused the third one once with each of two fresh tokens.
    asked = list(dict.fromkeys(token_server.scopes))
    assert asked == [
        f"repository:team/app:{actions}"
        for actions in ("pull,delete", "pull,push,delete", "pull,push", "*")
    ]


async def test_a_wrong_password_is_tried_once(
    with_tokens: str, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    token_server.fake.requests.clear()

    async with open_client(
        with_tokens, settings, make_login(with_tokens, secret="wrong-wrong")
    ) as client:
        with pytest.raises(RegistryError) as caught:
            await client.delete_manifest("team/app", IMAGE.digest)

    assert caught.value.code == FaultCode.AUTH_BAD_CREDENTIALS
    assert "wrong-wrong" not in repr(caught.value.fault())
    assert len(token_server.fake.requests) == 1


@pytest.mark.parametrize("image", [IMAGE, make_image(b"not there")])
async def test_a_registry_that_deletes_nothing_is_told_from_one_without_the_right(
    image: Image, registries: Registries, settings: ConnectionSettings
) -> None:
    host = registries.start(deletes=False).host
    await RepositoryFixture(host, "team/app", basic()).put("1", IMAGE)

    error = await refused(host, settings, image.digest)

    assert error.code == FaultCode.DELETE_UNSUPPORTED and not error.retryable
    assert "REGISTRY_STORAGE_DELETE_ENABLED=true" in error.remedy
    assert await has(host, settings)


def denies(status: int, code: str) -> Answer:
    return says(status, text=f'{{"errors":[{{"code":"{code}"}}]}}', kind="application/json")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (denies(405, "UNSUPPORTED"), FaultCode.DELETE_UNSUPPORTED),
        (denies(400, "UNSUPPORTED"), FaultCode.DELETE_UNSUPPORTED),
        (denies(412, "PRECONDITION"), FaultCode.DELETE_UNSUPPORTED),
        (denies(403, "DENIED"), FaultCode.PUSH_DENIED),
        (denies(401, "UNAUTHORIZED"), FaultCode.PUSH_DENIED),
        (denies(429, "TOOMANYREQUESTS"), FaultCode.RATE_LIMITED),
        (denies(500, "UNKNOWN"), FaultCode.REGISTRY_ERROR),
        (says(404, text="<html>", kind="text/html"), FaultCode.NOT_A_REGISTRY),
    ],
)
async def test_a_refusal_means_what_was_asked_and_by_basic_is_asked_once(
    answer: Answer, code: FaultCode, settings: ConnectionSettings
) -> None:
    async def guard(request: web.Request) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        return await (answer if request.method == "DELETE" else says(404))(request)

    async with (
        open_fake(guard) as fake,
        open_client(fake.host, settings, make_login(fake.host)) as client,
    ):
        assert not await client.has_manifest("team/app", IMAGE.digest)
        with pytest.raises(RegistryError) as caught:
            await client.delete_manifest("team/app", IMAGE.digest)

    assert caught.value.code == code
    assert fake.lines[-1].startswith("DELETE") and len(fake.requests) == 3


async def test_a_tag_cannot_be_deleted(settings: ConnectionSettings) -> None:
    async with open_fake(says(202)) as fake, open_client(fake.host, settings) as client:
        for ask in (client.delete_manifest, client.has_manifest):
            with pytest.raises(InvalidReferenceError):
                await ask("team/app", "latest")
        with pytest.raises(InvalidReferenceError):
            await client.delete_manifest("../app", digest_of(b""))

    assert fake.requests == []
