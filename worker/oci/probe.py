"""The staged test of a connection: one result a stage, and what is proved by them.

Never "ok" for what was not checked: a web page, a registry that asks nobody for a password, a user
without rights. The order of the stages stands in `shared.jobs.diagnosis`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, ProbeReport, Right, Stage, make_probe_repository
from shared.networks import is_address
from shared.reference import RegistryHost, parse_registry, require_repository
from worker.login import Login
from worker.oci.auth.handshake import Proof
from worker.oci.auth.scope import PULL, PUSH, PUSH_AND_CANCEL, Scope
from worker.oci.probe_stages import Finding, Ladder
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifests import MISSING
from worker.oci.registry.uploads import Upload
from worker.oci.transport.address import require_host
from worker.oci.transport.route import Endpoint, Route, connect, find_endpoint, negotiate
from worker.oci.transport.settings import ConnectionSettings

WHOLE = timedelta(seconds=15)
CANCEL = timedelta(seconds=3)
RENEW_BEFORE = timedelta(days=21)
BOTH_RIGHTS: frozenset[Right] = frozenset({"pull", "push"})


@dataclass(frozen=True)
class ProbeRequest:
    """What to test.

    ``repository`` is the one whose rights are tried; without it one is made of the prefix.
    ``warnings`` are doubts about the input that are to be shown with the first stage.
    """

    url: str
    login: Login | None = None
    rights: frozenset[Right] = BOTH_RIGHTS
    image_prefix: str | None = None
    repository: str | None = None
    warnings: tuple[str, ...] = ()


async def probe(
    request: ProbeRequest, settings: ConnectionSettings, *, whole: timedelta = WHOLE
) -> ProbeReport:
    """Climb until the first hard failure; every failure is a result, none is raised.

    The stage that is under way when ``whole`` is over has failed with ``conn_timeout``.
    """
    async with AsyncExitStack() as stack:
        survey = _Survey(request, settings, stack)
        ladder = Ladder(whole)
        for stage, step in survey.steps():
            await ladder.climb(stage, step)
        return ladder.report(host=survey.host.name, repository=survey.repository)


class _Survey:
    """The steps; each leaves what the next one needs."""

    def __init__(
        self, request: ProbeRequest, settings: ConnectionSettings, stack: AsyncExitStack
    ) -> None:
        self._request = request
        self._settings = settings
        self._stack = stack
        self.host = RegistryHost("")
        self.repository = ""
        self._endpoint: Endpoint
        self._route: Route
        self._client: RegistryClient

    def steps(self) -> list[tuple[Stage, Callable[[], Awaitable[Finding]]]]:
        return [
            (Stage.PARSE, self._parse),
            (Stage.POLICY, self._check_policy),
            (Stage.DNS, self._look_up),
            (Stage.TCP, self._connect),
            (Stage.TLS, self._negotiate),
            (Stage.PING, self._ping),
            (Stage.AUTH, self._authenticate),
            (Stage.PULL, self._try_pull),
            (Stage.PUSH, self._try_push),
            (Stage.CATALOG, self._list_catalog),
        ]

    async def _parse(self) -> Finding:
        request = self._request
        host = parse_registry(request.url)
        username = request.login.username if request.login else ""
        repository = request.repository or make_probe_repository(
            host, request.image_prefix, username
        )
        require_repository(repository)
        self.host, self.repository = host, repository
        doubts = (*host.warnings, *request.warnings)
        outcome = Outcome.WARNING if doubts else Outcome.OK
        return Finding(" ".join((f"{host.name}/{repository}", *doubts)), outcome)

    async def _check_policy(self) -> Finding:
        login, hostname = self._request.login, self.host.hostname
        if login and login.host != self.host.name:
            raise RegistryError(
                FaultCode.AUTH_MISSING,
                f"the credential belongs to {login.host} and is not sent to {self.host.name}",
            )
        require_host(hostname, self._settings.networks)
        if is_address(hostname):
            return Finding(f"{hostname} is an address that a registry may have here")
        return Finding("every address of the name is checked after the look-up")

    async def _look_up(self) -> Finding:
        host = self.host
        self._endpoint = await find_endpoint(host.name, host.hostname, host.port, self._settings)
        return Finding(f"{host.hostname} is at {', '.join(self._endpoint.addresses)}")

    async def _connect(self) -> Finding:
        self._endpoint = await connect(self._endpoint, self._settings)
        return Finding(f"{self._endpoint.addresses[0]} takes connections on {self._endpoint.port}")

    async def _negotiate(self) -> Finding:
        self._route = route = await negotiate(self._endpoint, self._settings)
        if route.context is None:
            return _describe_plain(self._endpoint)
        if route.doubt:
            text = f"{route.doubt}; this server's Docker lists the host as insecure"
            return Finding(text, Outcome.WARNING, is_proof=False)
        return _describe_certificate(route)

    async def _ping(self) -> Finding:
        self._client = await self._stack.enter_async_context(
            RegistryClient(self.host, self._request.login, self._settings, route=self._route)
        )
        is_open = await self._client.ping()
        return Finding("it answers without a login" if is_open else "it answers and wants a login")

    async def _authenticate(self) -> Finding:
        proof = await self._client.authenticate(*self._scopes())
        text = _describe_proof(proof)
        login = self._request.login
        if login is None or not (login.username or login.secret):
            return Finding(f"no password was given; {text}", Outcome.SKIPPED, is_proof=False)
        return Finding(text)

    async def _try_pull(self) -> Finding:
        if "pull" not in self._request.rights:
            return Finding("not asked for", Outcome.SKIPPED, is_proof=False)
        try:
            await self._client.list_tags(self.repository, 1)
        except RegistryError as error:
            if error.code not in MISSING:
                raise
            return Finding(f"{self.repository} does not exist yet, and may be asked for")
        return Finding(f"{self.repository} could be read")

    async def _try_push(self) -> Finding:
        if "push" not in self._request.rights:
            return Finding("not asked for", Outcome.SKIPPED, is_proof=False)
        upload = await self._client.start_upload(self.repository)
        if await self._cancel(upload):
            return Finding("an upload was begun and cancelled")
        return Finding("an upload was begun; the registry will forget it by itself")

    async def _cancel(self, upload: Upload) -> bool:
        try:
            async with asyncio.timeout(CANCEL.total_seconds()):
                await self._client.cancel_upload(upload)
        except (WharfError, TimeoutError):
            return False  # the right to push is proved all the same
        return True

    async def _list_catalog(self) -> Finding:
        try:
            await self._client.catalog(1)
        except WharfError:
            text = "no list of repositories for this login, which is usual"
            return Finding(text, Outcome.SKIPPED, is_proof=False)
        return Finding("repositories can be listed")

    def _scopes(self) -> list[Scope]:
        actions = [PUSH_AND_CANCEL, PUSH, PULL] if "push" in self._request.rights else [PULL]
        return [Scope(self.repository, each) for each in actions]


def _describe_plain(endpoint: Endpoint) -> Finding:
    if endpoint.is_listed:
        text = (
            "plain HTTP, since this server's Docker lists the host as insecure: "
            "whoever is on the way can read the password"
        )
        return Finding(text, Outcome.WARNING, is_proof=False)
    return Finding("plain HTTP, within this machine", Outcome.SKIPPED, is_proof=False)


def _describe_certificate(route: Route) -> Finding:
    certificate = route.certificate
    if certificate is None:
        return Finding("the certificate is accepted")
    days = certificate.time_left().days
    outcome = Outcome.WARNING if certificate.time_left() < RENEW_BEFORE else Outcome.OK
    return Finding(f"{certificate}, {days} days left", outcome)


def _describe_proof(proof: Proof) -> str:
    if not proof.realm_host:
        return "the registry takes this login"
    where = f"{proof.realm_host}, which is another host," if proof.is_foreign else proof.realm_host
    if proof.actions is None:
        return f"{where} gave a token"
    return f"{where} gave a token for: {', '.join(sorted(proof.actions)) or 'nothing'}"
