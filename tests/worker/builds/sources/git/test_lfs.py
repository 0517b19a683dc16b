"""Files of Git LFS are fetched with safe requests only, and are those that their pointers name."""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.networks import parse_networks
from tests.fakes.certificates import Authority
from tests.fakes.git import make_pointer
from tests.fakes.web import Fake, open_fake, says
from worker.builds.sources.git.lfs import fetch_files, find_endpoint
from worker.builds.sources.git.lfs_pointers import Pointer
from worker.builds.sources.git.refs import open_client
from worker.builds.sources.git.remote import Remote

CONTENT = b"this is the content of 31 bytes"
OID = hashlib.sha256(CONTENT).hexdigest()
LOGIN = "Basic bG9naW4="
SIGNED = {"Authorization": "Bearer s1gned", "X-Signed": "yes"}


@dataclass
class Store:
    """An LFS server with one file at ``href``, which ``moved`` redirects to another URL."""

    href: str = "/file"
    moved: str = ""
    content: bytes = CONTENT
    header: Mapping[str, str] = field(default_factory=lambda: SIGNED)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/app.git/info/lfs/objects/batch":
            action = {"href": self.href, "header": dict(self.header)}
            return web.json_response({"objects": [{"oid": OID, "actions": {"download": action}}]})
        if request.path == "/file" and self.moved:
            return web.Response(status=302, headers={"Location": self.moved})
        return web.Response(body=self.content)


@dataclass
class Fetching:
    """One file in ``directory`` that is fetched from an LFS server."""

    directory: Path
    client: httpx2.AsyncClient = field(default_factory=open_client)
    scheme: str = "http"

    @property
    def file(self) -> Path:
        return self.directory / "a.bin"

    @property
    def draft(self) -> Path:
        return self.directory / "draft"

    async def run(self, fake: Fake, size: int = len(CONTENT)) -> dict[str, str]:
        self.file.write_bytes(make_pointer(OID, size))
        url = f"{self.scheme}://{fake.host}/app.git/info/lfs"
        remote = Remote(url, (fake.address,), SecretStr(LOGIN))
        pointers = [Pointer("a.bin", self.file, OID, size)]
        async with self.client as client:
            return await fetch_files(
                client, remote, pointers, parse_networks("loopback"), self.draft
            )


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


async def test_a_redirect_within_the_host_keeps_the_headers_of_a_file(fetching: Fetching) -> None:
    async with open_fake(Store(moved="/moved")) as fake:
        missing = await fetching.run(fake)

    assert (missing, fetching.file.read_bytes()) == ({}, CONTENT)
    last = fake.requests[-1]
    assert last.path == "/moved"
    assert {name: last.headers[name] for name in SIGNED} == SIGNED


async def test_a_redirect_to_another_host_loses_the_headers_and_the_login(
    fetching: Fetching,
) -> None:
    async with (
        open_fake(says(200, text=CONTENT.decode())) as other,
        open_fake(Store(moved=f"http://{other.host}/moved")) as fake,
    ):
        missing = await fetching.run(fake)

    assert (missing, fetching.file.read_bytes()) == ({}, CONTENT)
    assert [request.path for request in other.requests] == ["/moved"]
    assert not {*SIGNED} & {*other.requests[0].headers}


@pytest.mark.parametrize("is_redirected", [False, True])
async def test_a_file_of_a_server_with_tls_is_not_requested_without_it(
    tmp_path: Path, *, is_redirected: bool
) -> None:
    authority = Authority(tmp_path)
    trusted = ssl.create_default_context(cafile=authority.file)
    client = httpx2.AsyncClient(verify=trusted, trust_env=False)
    store = Store()
    async with (
        open_fake(says(200, text=CONTENT.decode())) as plain,
        open_fake(store, tls=authority.context("127.0.0.1")) as fake,
    ):
        setattr(store, "moved" if is_redirected else "href", f"http://{plain.host}/moved")
        missing = await Fetching(tmp_path, client, "https").run(fake)

    assert plain.requests == []
    assert missing == {"a.bin": "the LFS server would send it without TLS"}


async def test_a_file_is_fetched_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusted = ssl.create_default_context(cafile=authority.file)
    client = httpx2.AsyncClient(verify=trusted, trust_env=False)
    fetching = Fetching(tmp_path, client, "https")

    async with open_fake(Store(), tls=authority.context("127.0.0.1")) as fake:
        missing = await fetching.run(fake)

    assert (missing, fetching.file.read_bytes()) == ({}, CONTENT)


async def test_a_file_that_is_shorter_than_its_pointer_says_is_refused(fetching: Fetching) -> None:
    async with open_fake(Store()) as fake:
        with pytest.raises(SourceError) as caught:
            await fetching.run(fake, size=len(CONTENT) + 1)

    assert caught.value.code == FaultCode.SOURCE_ALTERED
    assert fetching.file.read_bytes() == make_pointer(OID, len(CONTENT) + 1)


async def test_no_more_of_a_file_is_written_than_its_pointer_says(fetching: Fetching) -> None:
    async with open_fake(Store(content=bytes(1_000_000))) as fake:
        with pytest.raises(SourceError) as caught:
            await fetching.run(fake)

    assert caught.value.code == FaultCode.SOURCE_ALTERED
    assert fetching.draft.stat().st_size <= len(CONTENT)


def test_the_default_endpoint_is_beside_the_repository() -> None:
    assert find_endpoint("https://a/b") == find_endpoint("https://a/b.git")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("https://a.example/b", "https://c.example/lfs"),
        ("http://a.example/b", "https://c.example/lfs"),
        ("http://a.example/b", "http://c.example/lfs"),
    ],
)
def test_a_named_endpoint_replaces_the_default(url: str, named: str) -> None:
    assert find_endpoint(url, named) == named


@pytest.mark.parametrize("named", ["http://a.example/lfs", "ssh://a.example/lfs", "a.example/lfs"])
def test_a_named_endpoint_of_a_repository_with_tls_needs_tls(named: str) -> None:
    with pytest.raises(SourceError) as caught:
        find_endpoint("https://a.example/b", named)

    assert caught.value.code == FaultCode.SOURCE_INVALID
    assert "https://" in caught.value.message
