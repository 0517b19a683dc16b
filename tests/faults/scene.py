"""The parts of a run: an Engine in its own network, a registry, CAs, and the faulty servers."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.fakes.certificates import Authority
from tests.fakes.token_server import ISSUER, SERVICE, SigningKey, TokenServer
from tests.faults.certificates import common_name_only, self_signed
from tests.faults.fault import READING_STAGES, Fault, Stage, Tls, stage_of
from tests.faults.server import Edit, Respond, open_front, open_raw
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry, TokenRealm

USER, PASSWORD = "alice", "correct-horse-77"
ENGINE = {"max-concurrent-downloads": 100, "max-concurrent-uploads": 100}
"""Many faults at once: by default three downloads at a failing registry hold up all others."""

VERSIONS = {
    Tls.CLIENT_TLS12: ssl.TLSVersion.TLSv1_2,
    Tls.CLIENT_TLS13: ssl.TLSVersion.TLSv1_3,
    Tls.OLD: ssl.TLSVersion.TLSv1,
    Tls.TLS12: ssl.TLSVersion.TLSv1_2,
}
"""The only TLS version of a server."""


@dataclass
class Scene:
    """``certificates`` is our client's directory of CAs, as ``/etc/docker/certs.d``."""

    directory: Path
    namespace: Namespace
    engine: LocalEngine
    registry: LocalRegistry
    authority: Authority
    stranger: Authority
    certificates: Path
    key: SigningKey
    bundle: Path

    @property
    def address(self) -> str:
        return self.namespace.our_address

    def trust(self, host: str, tls: Tls = Tls.GOOD) -> None:
        """Let the Engine and our client trust the CA for a host."""
        authority = self.stranger if tls is Tls.CA_IN_CERTS_D else self.authority
        self.engine.trust(host, authority.file.read_bytes())
        authority.trust(self.certificates, host)

    def context(self, tls: Tls) -> ssl.SSLContext | None:
        """Return the TLS context of a server; ``None`` for plain HTTP."""
        if tls is Tls.NONE:
            return None
        context = self._context(tls)
        if tls in VERSIONS:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = context.maximum_version = VERSIONS[tls]
        if tls in {Tls.CLIENT_TLS12, Tls.CLIENT_TLS13}:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.stranger.file)
        return context

    def _context(self, tls: Tls) -> ssl.SSLContext:
        good = self.authority.context
        make: dict[Tls, Callable[[], ssl.SSLContext]] = {
            Tls.EXPIRED: lambda: good(self.address, ends_in=timedelta(days=-1)),
            Tls.UNKNOWN_CA: lambda: self.stranger.context(self.address),
            Tls.CA_IN_CERTS_D: lambda: self.stranger.context(self.address),
            Tls.WRONG_NAME: lambda: good("other.example"),
            Tls.SELF_SIGNED: lambda: self_signed(self.directory, self.address),
            Tls.NO_INTERMEDIATE: lambda: self.authority.without_intermediate(self.address),
            Tls.COMMON_NAME_ONLY: lambda: common_name_only(
                self.authority, self.directory, self.address
            ),
        }
        return make.get(tls, lambda: good(self.address))()


@contextmanager
def open_scene(directory: Path) -> Iterator[Scene]:
    """Start an Engine and a registry; end them when the block is left."""
    namespace = Namespace.create("faults")
    try:
        registry = LocalRegistry.start(
            directory / "registry",
            address=namespace.our_address,
            users={USER: PASSWORD},
            bcrypt_rounds=4,
        )
        try:
            for name in ("engine", "ca", "stranger", "certs.d"):
                (directory / name).mkdir()
            (directory / "engine" / "daemon.json").write_text(json.dumps(ENGINE))
            authority = Authority(directory / "ca")
            engine = start_engine(directory / "engine", namespace, authority)
            try:
                key = SigningKey()
                yield Scene(
                    directory,
                    namespace,
                    engine,
                    registry,
                    authority,
                    Authority(directory / "stranger", "Unknown CA"),
                    directory / "certs.d",
                    key,
                    key.write(directory / "token.pem"),
                )
            finally:
                engine.kill()
        finally:
            registry.stop()
    finally:
        namespace.remove()


def start_engine(
    directory: Path, namespace: Namespace, authority: Authority, *, disk_bytes: int = 0
) -> LocalEngine:
    """Start an Engine whose system trusts the CA.

    The containerd store reads no certificates of ``certs.d`` for token servers.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority.file))
        return LocalEngine.start(directory, namespace=namespace, disk_bytes=disk_bytes)


def _is_struck(fault: Fault, request: web.Request, config: str) -> bool:
    """Return whether a request is at the fault's stage; reads fail for the image to read alone."""
    if fault.stage in READING_STAGES and not request.path.startswith("/v2/read/"):
        return False
    is_whole = request.method == "PUT" and request.can_read_body
    if fault.stage is Stage.UPLOAD_SEND and is_whole and "/blobs/uploads/" in request.path:
        return True  # a client that sends a blob in one request
    return fault.stage in {Stage.ANY, stage_of(request, config)}


def _limited(fault: Fault, config: str) -> Respond:
    """Return the fault's responder, limited to its stage."""

    async def respond(request: web.Request) -> web.StreamResponse | None:
        if fault.respond is None:
            return None
        return await fault.respond(request) if _is_struck(fault, request, config) else None

    return respond


def _limited_edit(fault: Fault, config: str) -> Edit | None:
    change = fault.edit
    if change is None:
        return None

    def edit(request: web.Request, answer: web.Response) -> web.StreamResponse:
        return change(request, answer) if _is_struck(fault, request, config) else answer

    return edit


@asynccontextmanager
async def open_fault(scene: Scene, fault: Fault, config: str) -> AsyncIterator[str]:
    """Serve the fault; yield ``host:port``, which both clients trust."""
    tls = scene.context(fault.tls)
    async with AsyncExitStack() as stack:
        if fault.port != "open":
            yield stack.enter_context(_no_server(scene, fault.port))
            return
        if fault.talk is not None:
            host = await stack.enter_async_context(
                open_raw(fault.talk, listen=scene.address, tls=tls)
            )
        elif fault.token is not None:
            host = await _open_with_tokens(scene, fault, stack)
        else:
            front = await stack.enter_async_context(
                open_front(
                    scene.registry.host,
                    _limited(fault, config),
                    listen=scene.address,
                    tls=tls,
                    edit=_limited_edit(fault, config),
                )
            )
            host = front.host
        scene.trust(host, fault.tls)
        yield host


async def _open_with_tokens(scene: Scene, fault: Fault, stack: AsyncExitStack) -> str:
    """Open a registry whose token server is at the same origin, so that one CA vouches for both."""
    token = fault.token
    assert token is not None
    session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
    everything = frozenset({"pull", "push", "delete"})
    rights = everything if token.rights is None else frozenset(token.rights)
    user = "" if fault.is_anonymous else USER
    server = TokenServer(scene.key, {USER: PASSWORD}, rights={user: rights}, session=session)

    async def issue(request: web.Request) -> web.StreamResponse | None:
        if request.path != "/token":
            return None
        return await (token.respond or server.answer)(request)

    front = await stack.enter_async_context(
        open_front("", issue, listen=scene.address, tls=scene.context(fault.tls))
    )
    realm_host = front.host if token.is_listening else f"{scene.address}:9"
    realm = TokenRealm(f"https://{realm_host}/token", SERVICE, ISSUER, scene.bundle)
    directory = scene.directory / f"token-registry-{front.host.rpartition(':')[2]}"
    directory.mkdir()
    (directory / "data").symlink_to(scene.directory / "registry" / "data")
    registry = await asyncio.to_thread(
        LocalRegistry.start, directory, address=scene.address, token_realm=realm
    )
    stack.push_async_callback(asyncio.to_thread, registry.stop)
    front.target = registry.host
    return front.host


@contextmanager
def _no_server(scene: Scene, how: str) -> Iterator[str]:
    """Yield an address where nothing answers."""
    match how:
        case "closed":
            with socket.socket() as unused:
                unused.bind((scene.address, 0))  # bound and not listening: refused
                yield f"{scene.address}:{unused.getsockname()[1]}"
        case "full":
            with socket.socket() as full:
                full.bind((scene.address, 0))
                full.listen(0)
                port = full.getsockname()[1]
                waiting = [socket.socket() for _ in range(4)]
                for one in waiting:
                    one.setblocking(False)  # noqa: FBT003 - the standard library's own
                    one.connect_ex((scene.address, port))
                try:
                    yield f"{scene.address}:{port}"
                finally:
                    for one in waiting:
                        one.close()
        case "no name":
            yield "registry.does-not-exist.invalid:5000"
        case _:
            yield f"{scene.address.rpartition('.')[0]}.77:5000"
