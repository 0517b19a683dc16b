"""No Engine gets the login of a registry that names an unsafe token server."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import EngineError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import (
    ANY_REPOSITORY,
    ComposeImage,
    ComposePull,
    ImageBuild,
    ImagePull,
    ImagePush,
)
from shared.jobs.sources import GitSource
from shared.reference import Reference
from tests.fakes.certificates import Authority
from tests.fakes.git import open_git_server
from tests.fakes.web import Fake, open_fake
from tests.worker.engine.parts import ALLOWED, IDLE
from tests.worker.engine.test_images import ignore
from tests.worker.parts import make_tools
from worker.builds import build as builds
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.images import compose
from worker.images import pull_push_tag as handlers
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.images import make_image
from worker.local.namespaces import Namespace
from worker.login import EngineLogin, Grant, Grants

CANARY = "correct-horse-canary"
API = {"Docker-Distribution-Api-Version": "registry/2.0"}


@dataclass
class UnsafeRegistry:
    """A registry that names a token server elsewhere, and a server whose Engine may be sent there.

    ``challenge`` is what it wants; ``{there}`` in it is the token server.
    """

    tools: Tools
    elsewhere: Fake
    challenge: str
    is_open: bool = False
    fake: Fake = field(default_factory=Fake)
    forms: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.is_open and request.path == "/v2/":
            return web.json_response({}, headers=API)
        wants = self.challenge.replace("{there}", self.elsewhere.host)
        return web.Response(status=401, headers={"WWW-Authenticate": wants, **API})

    @property
    def target(self) -> Reference:
        return Reference(self.fake.host, "team/app", "1")

    @property
    def login(self) -> EngineLogin:
        return EngineLogin(
            host=self.fake.host, username="alice", secret=SecretStr(CANARY), tls=ALLOWED
        )

    @property
    def grants(self) -> Grants:
        rights = frozenset({"pull", "push"})
        return Grants(grants=(Grant(login=self.login, repository=ANY_REPOSITORY, rights=rights),))

    @property
    def received(self) -> list[str]:
        """Return all received authorizations and forms; those of type Basic are decoded.

        With the containerd store an Engine sends the password in a form.
        """
        both = [*self.fake.authorizations, *self.elsewhere.authorizations]
        return [
            base64.b64decode(value.removeprefix("Basic ")).decode()
            if value.startswith("Basic ")
            else value
            for value in [*both, *self.forms]
        ]

    async def refuse(self, working: Awaitable[object]) -> WharfError:
        with pytest.raises(RegistryError) as caught:
            await working
        return caught.value


Open = Callable[..., Awaitable[UnsafeRegistry]]


@pytest.fixture
async def open_unsafe(engine: Engine, namespace: Namespace, tmp_path: Path) -> AsyncIterator[Open]:
    tls = Authority(tmp_path).context(namespace.our_address)
    async with AsyncExitStack() as stack:

        async def open_one(
            challenge: str, *, is_plain: bool = False, is_open: bool = False
        ) -> UnsafeRegistry:
            listen = namespace.our_address
            forms = list[str]()

            async def give_token(request: web.Request) -> web.StreamResponse:
                if text := await request.text():
                    forms.append(text)
                return web.json_response({"token": "t"})

            elsewhere = await stack.enter_async_context(open_fake(give_token, listen=listen))
            unsafe = UnsafeRegistry(
                make_tools(engine, "private", tmp_path), elsewhere, challenge, is_open, forms=forms
            )
            serving = open_fake(unsafe.answer, tls=None if is_plain else tls, listen=listen)
            unsafe.fake = await stack.enter_async_context(serving)
            return unsafe

        yield open_one


HTTP = 'Bearer realm="http://{there}/token",service="r"'


async def pull(unsafe: UnsafeRegistry) -> None:
    command = ImagePull(reference=str(unsafe.target), registry_id="registry")
    await handlers.pull(command, unsafe.grants, Attempt("job", 1), unsafe.tools)


async def deploy(unsafe: UnsafeRegistry) -> None:
    """Run the first job of a deployment, with its preflight."""
    command = ImagePull(reference=str(unsafe.target), registry_id="registry", preflight=True)
    await handlers.pull(command, unsafe.grants, Attempt("job", 1), unsafe.tools)


async def push(unsafe: UnsafeRegistry) -> None:
    make_image(unsafe.tools.engine.docker_host, "trap:1")
    command = ImagePush(source="trap:1", reference=str(unsafe.target), registry_id="registry")
    await handlers.push(command, unsafe.grants, Attempt("job", 1), unsafe.tools)


async def pull_compose(unsafe: UnsafeRegistry) -> None:
    image = ComposeImage(reference=str(unsafe.target), services=("app",), registry_id="registry")
    file = f"services: {{app: {{image: '{unsafe.target}'}}}}"
    command = ComposePull(compose=file, images=(image,))
    await compose.pull(command, unsafe.grants, Attempt("job", 1), unsafe.tools)


async def build(unsafe: UnsafeRegistry, tmp_path: Path, *, platform: str = "") -> None:
    async with open_git_server(tmp_path) as server:
        server.create("app").commit({"Dockerfile": f"FROM {unsafe.target}\nRUN true\n".encode()})
        command = ImageBuild(
            application_id="a",
            reference="wharf.example/team/trap:1",
            source=GitSource(url=server.url("app")),
            platform=platform or None,
        )
        tools = make_tools(unsafe.tools.engine, "private,loopback", tmp_path)
        await builds.build(command, unsafe.grants, Attempt("job", 1), tools)


async def test_an_engine_by_itself_sends_the_password_to_the_unsafe_token_server(
    open_unsafe: Open,
) -> None:
    unsafe = await open_unsafe(HTTP)

    with pytest.raises(EngineError):
        await images.pull(unsafe.tools.engine, unsafe.target, unsafe.login, ignore, IDLE)

    assert [text for text in unsafe.received if CANARY in text]


@pytest.mark.parametrize("work", [pull, deploy, push, pull_compose])
async def test_no_job_gives_an_engine_the_password_of_an_unsafe_registry(
    open_unsafe: Open, work: Callable[[UnsafeRegistry], Awaitable[None]]
) -> None:
    unsafe = await open_unsafe(HTTP)

    error = await unsafe.refuse(work(unsafe))

    assert (error.code, error.retryable) == (FaultCode.AUTH_UNSAFE_REALM, False)
    assert unsafe.received == []


@pytest.mark.parametrize("platform", ["", "linux/arm64"], ids=["pulled before", "left to it"])
async def test_no_build_gives_an_engine_the_password_of_an_unsafe_base(
    open_unsafe: Open, tmp_path: Path, platform: str
) -> None:
    unsafe = await open_unsafe(HTTP)

    error = await unsafe.refuse(build(unsafe, tmp_path, platform=platform))

    assert error.code == FaultCode.AUTH_UNSAFE_REALM
    assert unsafe.received == []


@pytest.mark.parametrize(
    ("challenge", "is_plain", "is_open"),
    [
        (HTTP, True, False),
        (HTTP, False, True),
        (f'Basic realm="x", {HTTP}', False, False),
        ('Bearer realm="https://127.0.0.1/token",service="r",realm="http://{there}/token"', 0, 0),
        ('Bearer realm="https://169.254.169.254/token",service="r"', False, False),
    ],
    ids=[
        "another port without TLS",
        "open but for images",
        "a second one",
        "two realms",
        "metadata",
    ],
)
async def test_every_token_server_that_an_engine_might_use_is_checked(
    open_unsafe: Open,
    challenge: str,
    is_plain: bool,  # noqa: FBT001
    is_open: bool,  # noqa: FBT001
) -> None:
    unsafe = await open_unsafe(challenge, is_plain=bool(is_plain), is_open=bool(is_open))

    with pytest.raises(WharfError) as caught:
        await pull(unsafe)

    assert caught.value.code in {FaultCode.AUTH_UNSAFE_REALM, FaultCode.NETWORK_REFUSED}
    assert unsafe.received == []
