"""The jobs that read what is in a registry, at real registries and at fakes of providers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import RegistryError
from shared.jobs.accesses import accesses
from shared.jobs.commands import Command, ImageInspect, ImageRepositories, ImageTags
from shared.jobs.results import InspectionResult
from shared.networks import RegistryNetworks
from shared.reference import make_attachments_tag
from shared.settings import WorkerSettings
from tests.fakes.certificates import Authority
from tests.fakes.providers.clients import find_address, make_client_settings
from tests.fakes.providers.cloud import Cloud, open_clouds
from tests.fakes.providers.ghcr import Ghcr
from tests.fakes.providers.hub import Hub
from tests.fakes.web import open_fake
from tests.worker.engine.parts import require_real_parts
from tests.worker.oci.copying import make_two_platform_image
from tests.worker.oci.parts import API, RegistryFactory, basic, make_login
from tests.worker.oci.sample_images import (
    CONFIG,
    INDEX,
    MANIFEST,
    Image,
    RepositoryFixture,
    digest_of,
    make_image,
)
from tests.worker.oci.storage import Storage
from tests.worker.parts import open_loopback_engine, open_tools
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.engine_view import EngineView
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants, Login
from worker.oci.transport.settings import ConnectionSettings
from worker.registries.contents import inspect_image, list_repositories, list_tags
from worker.server.handlers import open_work

IMAGE = make_two_platform_image("contents")
SIGNATURE = make_image(b"a signature")
SBOM = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "artifactType": "application/spdx+json",
    "config": {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest_of(b"{}"),
        "size": 2,
    },
    "layers": [],
}


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    factory = RegistryFactory(tmp_path_factory.mktemp("registries"))
    yield factory.start()
    factory.stop()


def grants_for(command: Command, login: Login) -> Grants:
    """Give a login as control does: for what the command needs, and no more."""
    return Grants(
        grants=tuple(
            Grant(login=login, repository=one.repository, rights=one.rights)
            for one in accesses(command)
        )
    )


def alice(command: Command, host: str) -> Grants:
    return grants_for(command, make_login(host))


def inspect_command(host: str, name: str) -> ImageInspect:
    return ImageInspect(reference=f"{host}/{name}", registry_id="registry")


def tags_command(host: str, repository: str, limit: int = 100, after: str = "") -> ImageTags:
    return ImageTags(
        host=host, repository=repository, registry_id="registry", limit=limit, after=after
    )


def repositories_command(
    host: str, prefix: str = "", limit: int = 100, after: str = ""
) -> ImageRepositories:
    return ImageRepositories(
        host=host, prefix=prefix, registry_id="registry", limit=limit, after=after
    )


async def fill(registry: LocalRegistry, repository: str, tag: str, image: Image = IMAGE) -> None:
    await RepositoryFixture(registry.host, repository, basic()).put(tag, image)


async def look_at(registry: LocalRegistry, name: str, tools: Tools) -> InspectionResult:
    command = inspect_command(registry.host, name)
    return await inspect_image(command, alice(command, registry.host), tools)


async def test_an_image_is_described_with_its_platforms_and_sizes(
    registry: LocalRegistry, tools: Tools
) -> None:
    await fill(registry, "team/app", "1")

    found = await look_at(registry, "team/app:1", tools)

    first, second = (len(IMAGE.manifests[n][1]) for n in (0, 1))
    assert first and second
    assert found.reference == f"{registry.host}/team/app:1"
    assert (found.digest, found.media_type) == (IMAGE.digest, INDEX)
    assert found.size_bytes == IMAGE.size_bytes
    assert [(one.platform, one.digest) for one in found.platforms] == [
        ("linux/amd64", IMAGE.digests[0]),
        ("linux/arm64", IMAGE.digests[1]),
    ]
    shared = found.platforms[0].size_bytes + found.platforms[1].size_bytes - found.size_bytes
    assert shared == 300 * 1024
    assert (found.attachments, found.warnings, found.artifact_type) == ((), (), "")


async def test_an_image_of_one_platform_is_described_by_its_configuration(
    registry: LocalRegistry, tools: Tools
) -> None:
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "arm",
            "variant": "v7",
            "created": "2026-01-15T10:30:00.123456789Z",
            "config": {"Labels": {"org.opencontainers.image.version": "1.2", "bad": 5}},
            "rootfs": {"type": "layers", "diff_ids": []},
        }
    ).encode()
    part = {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": []}
    image = Image({digest_of(config): config}, [(MANIFEST, json.dumps(document).encode())])
    await fill(registry, "team/labelled", "1", image)

    found = await look_at(registry, f"team/labelled@{image.digest}", tools)

    assert [one.platform for one in found.platforms] == ["linux/arm/v7"]
    assert found.labels == {"org.opencontainers.image.version": "1.2"}
    assert found.created_at == datetime(2026, 1, 15, 10, 30, 0, 123456, UTC)
    assert found.size_bytes == found.platforms[0].size_bytes == len(config)


async def test_signatures_and_sboms_are_found_by_the_tags_of_cosign_and_by_referrers(
    registry: LocalRegistry, tools: Tools
) -> None:
    await fill(registry, "team/signed", "1")
    await fill(registry, "team/signed", f"{make_attachments_tag(IMAGE.digest)}.sig", SIGNATURE)
    # This registry has no referrers API, so clients keep their index under a tag.
    sbom = json.dumps(SBOM).encode()
    repository = RepositoryFixture(registry.host, "team/signed", basic())
    await repository.put_blobs(Image({digest_of(b"{}"): b"{}"}))
    await repository.put_manifest(digest_of(sbom), MANIFEST, sbom)
    part = {"mediaType": MANIFEST, "digest": digest_of(sbom), "size": len(sbom)}
    entry = part | {"artifactType": "application/spdx+json"}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    await repository.put_manifest(
        make_attachments_tag(IMAGE.digest), INDEX, json.dumps(index).encode()
    )

    found = await look_at(registry, "team/signed:1", tools)

    assert [(one.kind, one.digest, one.tag) for one in found.attachments] == [
        ("sbom", digest_of(sbom), None),
        ("signature", SIGNATURE.digest, f"{make_attachments_tag(IMAGE.digest)}.sig"),
    ]
    assert found.warnings == ()


async def test_an_artifact_that_is_no_image_is_described_as_such(
    registry: LocalRegistry, tools: Tools
) -> None:
    content = json.dumps(SBOM).encode()
    image = Image({digest_of(b"{}"): b"{}"}, [(MANIFEST, content)])
    await fill(registry, "team/sbom", "1", image)

    found = await look_at(registry, "team/sbom:1", tools)

    assert (found.artifact_type, found.platforms) == ("application/spdx+json", ())


async def test_a_missing_tag_is_named_with_the_nearest_one(
    registry: LocalRegistry, tools: Tools
) -> None:
    await fill(registry, "team/near", "stable")

    with pytest.raises(RegistryError) as caught:
        await look_at(registry, "team/near:stabel", tools)

    assert caught.value.code == "image_not_found"
    assert "stable" in caught.value.remedy


async def test_ten_thousand_tags_are_read_in_parts(registry: LocalRegistry, tools: Tools) -> None:
    await fill(registry, "team/many", "first")
    tags = Storage(registry).tags("team/many")
    link = (tags / "first/current/link").read_text()
    for number in range(10_000):
        made = tags / f"v{number:05}/current"
        made.mkdir(parents=True)
        (made / "link").write_text(link)
    names: list[str] = []
    after, rounds = "", 0

    while rounds == 0 or after:
        command = tags_command(registry.host, "team/many", limit=500, after=after)
        found = await list_tags(command, alice(command, registry.host), tools)
        names += found.names
        after, rounds = found.next, rounds + 1

    assert rounds <= 21
    assert sorted(names) == ["first", *(f"v{number:05}" for number in range(10_000))]


async def test_only_repositories_below_the_prefix_are_listed(
    registry: LocalRegistry, tools: Tools
) -> None:
    for name in ("shop", "shop/web", "shopping/web", "other/web"):
        await fill(registry, name, "1", SIGNATURE)
    command = repositories_command(registry.host, "shop")

    found = await list_repositories(command, alice(command, registry.host), tools)

    assert (found.names, found.next, found.refusal) == (("shop", "shop/web"), "", "")


async def test_a_login_for_a_prefix_lists_no_other_one(
    registry: LocalRegistry, tools: Tools
) -> None:
    given = alice(repositories_command(registry.host, "shop"), registry.host)

    with pytest.raises(RegistryError) as caught:
        await list_repositories(repositories_command(registry.host), given, tools)

    assert caught.value.code == "auth_missing"


async def test_a_wrong_password_is_an_error_and_not_a_registry_without_a_list(
    registry: LocalRegistry, tools: Tools
) -> None:
    command = repositories_command(registry.host)
    given = grants_for(command, make_login(registry.host, secret="not-the-password-99"))

    with pytest.raises(RegistryError) as caught:
        await list_repositories(command, given, tools)

    assert caught.value.code == "auth_bad_credentials"


async def test_names_that_are_none_are_left_out_and_counted(tools: Tools) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("tags/list"):
            tags = ["1", "<script>alert(1)</script>", "\x1b[31mred", "2"]
            return web.json_response({"name": "team/app", "tags": tags}, headers=API)
        if request.path.endswith("_catalog"):
            return web.json_response({"repositories": ["a", "<b>", "../c"]}, headers=API)
        return web.json_response({}, headers=API)

    async with open_fake(answer) as fake:
        of_tags = tags_command(fake.host, "team/app")
        tags = await list_tags(of_tags, alice(of_tags, fake.host), tools)
        of_all = repositories_command(fake.host)
        repositories = await list_repositories(of_all, alice(of_all, fake.host), tools)

    assert (tags.names, tags.invalid) == (("1", "2"), 2)
    assert (repositories.names, repositories.invalid) == (("a",), 2)


async def test_pages_are_followed_as_the_registry_links_them(tools: Tools) -> None:
    pages = {"": ("a", "b"), "x/1": ("c", "d"), "x/2": ("e",)}

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("tags/list"):
            return web.json_response({}, headers=API)
        after = request.query.get("token", "")
        keys = list(pages)
        following = keys[keys.index(after) + 1 :]
        link = {}
        if following:
            token = following[0].replace("/", "%2F")
            link["Link"] = f'<{request.path}?token={token}>; rel="next"'
        return web.json_response({"tags": pages[after]}, headers={**API, **link})

    async with open_fake(answer) as fake:
        command = tags_command(fake.host, "team/app", limit=3)
        first = await list_tags(command, alice(command, fake.host), tools)
        command = tags_command(fake.host, "team/app", limit=3, after=first.next)
        second = await list_tags(command, alice(command, fake.host), tools)

    assert (first.names, second.names, second.next) == (("a", "b", "c", "d"), ("e",), "")


async def test_a_registry_that_links_to_itself_for_ever_is_left(tools: Tools) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        link = {"Link": f'<{request.path}?n=1&last={request.query.get("last", "")}0>; rel="next"'}
        content = {"tags": [f"t{request.query.get('last', '')}"]}
        return web.json_response(content, headers={**API, **link})

    async with open_fake(answer) as fake:
        command = tags_command(fake.host, "team/app", limit=500)
        found = await list_tags(command, alice(command, fake.host), tools)

    assert 1 < len(found.names) <= 50
    assert found.next


async def test_a_registry_that_does_not_answer_is_named_in_time(tools: Tools) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/v2/"):
            return web.json_response({}, headers=API)
        await asyncio.Event().wait()
        raise AssertionError

    async with open_fake(answer) as fake:
        command = tags_command(fake.host, "team/app")
        with pytest.raises(RegistryError) as caught:
            await list_tags(
                command, alice(command, fake.host), tools, within=timedelta(seconds=0.5)
            )

    assert caught.value.code == "conn_timeout"


@dataclass
class _CloudView(EngineView):
    """An Engine on whose server the names of providers lead to their fakes."""

    found: ConnectionSettings | None = None

    async def settings(self, _engine: Engine, _networks: RegistryNetworks) -> ConnectionSettings:
        assert self.found is not None
        return self.found


CLOUDS = {
    "docker.io": (Hub, "dockerhubuser", "dockerhub-token", "mycompany"),
    "ghcr.io": (Ghcr, "github-username", "", "myorg"),
}


@pytest.mark.real_parts
@pytest.mark.parametrize("host", CLOUDS)
async def test_a_provider_without_a_catalog_says_so_and_still_shows_its_images(
    registry: LocalRegistry, tools: Tools, tmp_path: Path, host: str
) -> None:
    require_real_parts()  # the providers' hosts listen on port 443
    made, username, secret, namespace = CLOUDS[host]
    behind = LocalRegistry.start(tmp_path / "behind")
    try:
        await RepositoryFixture(behind.host, f"{namespace}/app").put("1", IMAGE)
        cloud: Cloud = made(behind.host)
        if isinstance(cloud, Ghcr):
            username, secret = cloud.username, cloud.token.value
        login = Login(host=host, username=username, secret=SecretStr(secret))
        (tmp_path / "authority").mkdir()
        authority = Authority(tmp_path / "authority")
        async with open_clouds(cloud, authority=authority, listen=find_address(7)):
            settings = make_client_settings(
                cloud, authority=authority, directory=tmp_path / "certs.d"
            )
            there = replace(tools, engine_view=_CloudView(found=settings))
            of_all = repositories_command(host, namespace)
            listed = await list_repositories(of_all, grants_for(of_all, login), there)
            of_tags = tags_command(host, f"{namespace}/app")
            tags = await list_tags(of_tags, grants_for(of_tags, login), there)
            of_one = inspect_command(host, f"{namespace}/app:1")
            image = await inspect_image(of_one, grants_for(of_one, login), there)
    finally:
        behind.stop()

    assert listed.names == () and host in listed.refusal
    assert tags.names == ("1",)
    assert (image.digest, len(image.platforms), image.warnings) == (IMAGE.digest, 2, ())


async def test_the_worker_of_a_server_does_these_jobs(
    registry: LocalRegistry, tmp_path: Path
) -> None:
    await fill(registry, "work/app", "1")
    settings = WorkerSettings(state_dir=tmp_path / "state", registry_networks="loopback")
    commands: list[Command] = [
        inspect_command(registry.host, "work/app:1"),
        tags_command(registry.host, "work/app"),
        repositories_command(registry.host, "work"),
    ]
    async with AsyncExitStack() as stack:
        docker_host = await stack.enter_async_context(open_loopback_engine(tmp_path))
        work, *_ = await open_work(stack, settings, docker_host)
        results = [
            (await work(one, alice(one, registry.host), Attempt("job", 1))).model_dump()
            for one in commands
        ]

    assert results[0]["digest"] == IMAGE.digest
    assert [result["names"] for result in results[1:]] == [("1",), ("work/app",)]
