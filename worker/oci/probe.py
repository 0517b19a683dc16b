"""The connection test of a registry, in stages: one result per stage, and what was verified.

An unchecked claim is never reported as verified: not for a web page, a registry that asks for no
password, or a user without rights. `shared.jobs.diagnosis` defines the order of the stages.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.errors import RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Excess, Outcome, ProbeReport, Right, Stage, make_probe_repository
from shared.networks import is_address
from shared.reference import HUB, RegistryHost, parse_registry, require_repository
from worker.login import Login
from worker.oci.auth.scope import PULL, PUSH, PUSH_AND_CANCEL, UNKNOWN, Scope
from worker.oci.excess import find_excess
from worker.oci.findings import describe_authentication, describe_certificate, describe_plain_http
from worker.oci.mirrors import ask_mirrors
from worker.oci.probe_stages import Finding, OnStage, StageRunner, Step
from worker.oci.registry.authentication import authenticate
from worker.oci.registry.client import ECR_USERNAME, RegistryClient
from worker.oci.registry.listing import list_repositories, list_tags, read_first_page
from worker.oci.registry.manifests import MISSING
from worker.oci.registry.pull_limit import read_pull_limit
from worker.oci.registry.uploads import Upload, Uploads
from worker.oci.transport.address import require_host
from worker.oci.transport.endpoint import Endpoint, connect, find_endpoint
from worker.oci.transport.http import Response
from worker.oci.transport.route import Route, find_proxied_route, negotiate
from worker.oci.transport.settings import ConnectionSettings

TIME_LIMIT = timedelta(seconds=15)
CANCEL_TIME_LIMIT = timedelta(seconds=3)
MAX_REPOSITORIES = 50
PROXIED = Finding(
    "through the proxy of the Docker Engine: shown by the next stage",
    Outcome.SKIPPED,
    is_verified=False,
)
HIDDEN = Finding(
    "not asked: Docker Hub is out of reach, and its mirror is asked in its place",
    Outcome.SKIPPED,
    is_verified=False,
)
CleanUp = Callable[[Coroutine[Any, Any, None]], None]
BOTH_RIGHTS: frozenset[Right] = frozenset({"pull", "push"})


@dataclass(frozen=True)
class ProbeRequest:
    """The registry, login and rights to test.

    ``repository`` is the one whose rights are tested; by default it is made of the prefix.
    ``warnings`` are doubts about the input, to be shown with the first stage.
    """

    url: str
    login: Login | None = None
    rights: frozenset[Right] = BOTH_RIGHTS
    image_prefix: str | None = None
    repository: str | None = None
    warnings: tuple[str, ...] = ()


async def probe(
    request: ProbeRequest,
    settings: ConnectionSettings,
    *,
    time_limit: timedelta = TIME_LIMIT,
    on_login: Callable[[ProbeReport], None] = lambda _: None,
    on_stage: OnStage = lambda _: None,
    clean_up: CleanUp | None = None,
) -> ProbeReport:
    """Run the stages until one fails; every failure is a result, none is raised.

    The stage that is running when ``time_limit`` has passed fails with ``conn_timeout``.
    ``on_login`` gets the report of the stages before the last ones, if none has failed and the
    registry itself was asked: where Docker Hub is out of reach, an Engine's mirror is asked for it.
    ``on_stage`` gets the result of each stage that was run, as soon as it is known.
    ``clean_up`` gets the work that is left then: to cancel the upload and close the connections.
    Without it, that is done before the return.
    """
    stack = AsyncExitStack()
    try:
        stages = _ProbeStages(request, settings, stack, waits_for_cancel=clean_up is None)
        return await _run(stages, StageRunner(time_limit, on_stage), on_login)
    finally:
        if clean_up is None:
            await stack.aclose()
        else:
            clean_up(stack.aclose())


async def _run(
    stages: "_ProbeStages", runner: StageRunner, on_login: Callable[[ProbeReport], None]
) -> ProbeReport:
    *first, last = stages.steps()
    for steps in first:
        await runner.run(*steps)
    before = runner.report(host=stages.host.name, repository=stages.repository)
    if before.fault() is None and not stages.is_hidden:
        on_login(before)
    await runner.run(*last)
    report = runner.report(host=stages.host.name, repository=stages.repository)
    return report.model_copy(update={"excess": stages.find_excess()})


class _ProbeStages:
    """The steps of the test; each one prepares the next one."""

    def __init__(
        self,
        request: ProbeRequest,
        settings: ConnectionSettings,
        stack: AsyncExitStack,
        *,
        waits_for_cancel: bool,
    ) -> None:
        self._request = request
        self._waits_for_cancel = waits_for_cancel
        login = request.login
        self._settings = (
            settings.for_registry(parse_registry(request.url).hostname, login.tls)
            if login
            else settings
        )
        self._stack = stack
        self.host = RegistryHost("")
        self.repository = ""
        self._endpoint: Endpoint
        self._route: Route
        self._client: RegistryClient
        self._granted: frozenset[str] | None = None
        self._first_page: Response | None = None
        self._pushed: Finding | None = None
        self._claims = UNKNOWN
        self._lists_all = False
        self._proxied: Route | None = None
        self.is_hidden = False

    def steps(self) -> list[tuple[tuple[Stage, Step], ...]]:
        """Return the stages in their order; the last ones run side by side."""
        return [
            ((Stage.PARSE, self._parse),),
            ((Stage.POLICY, self._check_policy),),
            ((Stage.DNS, self._at_hub(self._resolve)),),
            ((Stage.TCP, self._at_hub(self._connect)),),
            ((Stage.TLS, self._at_hub(self._negotiate)),),
            ((Stage.PING, self._at_hub(self._ping)),),
            ((Stage.AUTH, self._at_hub(self._authenticate, may_be_hidden=False)),),
            ((Stage.PULL, self._try_pull),),
            (
                (Stage.PUSH, self._try_push),
                (Stage.CATALOG, self._at_hub(self._list_catalog, may_be_hidden=False)),
            ),
        ]

    def _at_hub(self, step: Step, *, may_be_hidden: bool = True) -> Step:
        """Leave out a step if Docker Hub is out of reach, and pulls go to the Engine's mirror."""

        async def run() -> Finding:
            if self.is_hidden:
                return HIDDEN
            try:
                return await step()
            except RegistryError as error:
                has_mirror = self.host.name == HUB and self._settings.mirrors
                if not (may_be_hidden and has_mirror and "pull" in self._request.rights):
                    raise
                self.is_hidden = True
                text = f"{error.message}; Docker on this server pulls from its registry mirror"
                return Finding(text, Outcome.WARNING, is_verified=False)

        return run

    async def _parse(self) -> Finding:
        request = self._request
        host = parse_registry(request.url)
        username = request.login.username if request.login else ""
        repository = request.repository or make_probe_repository(
            host, request.image_prefix, username
        )
        require_repository(repository)
        self.host, self.repository = host, repository
        warnings = (*host.warnings, *request.warnings)
        outcome = Outcome.WARNING if warnings else Outcome.OK
        return Finding(" ".join((f"{host.name}/{repository}", *warnings)), outcome)

    async def _check_policy(self) -> Finding:
        login, hostname = self._request.login, self.host.hostname
        if login and login.host != self.host.name:
            raise RegistryError(
                FaultCode.AUTH_MISSING,
                f"the stored login is for {login.host}, so it is not sent to {self.host.name}",
            )
        require_host(hostname, self._settings.networks)
        if is_address(hostname):
            return Finding(f"{hostname} is an allowed address of a registry")
        return Finding("the addresses of the name are checked after the look-up")

    async def _resolve(self) -> Finding:
        host = self.host
        try:
            self._endpoint = await find_endpoint(
                host.name, host.hostname, host.port, self._settings
            )
        except RegistryError as error:
            return await self._use_proxy(error)
        return Finding(f"{host.hostname} is at {', '.join(self._endpoint.addresses)}")

    async def _use_proxy(self, error: RegistryError) -> Finding:
        """Continue through the Engine's proxy, if it has one, or raise the error."""
        host = self.host
        self._proxied = await find_proxied_route(
            error, host.name, host.hostname, host.port, self._settings
        )
        if self._proxied is None:
            raise error
        text = f"{error.message}; the proxy of the Docker Engine is used"
        return Finding(text, Outcome.WARNING, is_verified=False)

    async def _connect(self) -> Finding:
        if self._proxied:
            return PROXIED
        try:
            self._endpoint = await connect(self._endpoint, self._settings)
        except RegistryError as error:
            return await self._use_proxy(error)
        return Finding(
            f"{self._endpoint.addresses[0]} accepts connections on {self._endpoint.port}"
        )

    async def _negotiate(self) -> Finding:
        if self._proxied:
            self._route = self._proxied
            return PROXIED
        self._route = route = await negotiate(self._endpoint, self._settings)
        if route.context is None:
            return describe_plain_http(self._endpoint)
        if route.unverified_reason:
            text = f"{route.unverified_reason}; this server's Docker lists the host as insecure"
            return Finding(text, Outcome.WARNING, is_verified=False)
        return describe_certificate(route)

    async def _ping(self) -> Finding:
        self._client = await self._stack.enter_async_context(
            RegistryClient(self.host, self._request.login, self._settings, route=self._route)
        )
        is_open = await self._client.ping()
        return Finding(
            "it answers without a login" if is_open else "it answers and requires a login"
        )

    async def _authenticate(self) -> Finding:
        await self._client.require_safe_realms()
        accepted = await authenticate(self._client, *self._scopes())
        authentication = accepted.authentication
        self._granted, self._first_page = authentication.actions, accepted.first_page
        self._claims = authentication.claims
        text = describe_authentication(authentication)
        login = self._request.login
        if login is None or not (login.username or login.secret):
            return Finding(f"no password was given; {text}", Outcome.SKIPPED, is_verified=False)
        return Finding(text)

    async def _try_pull(self) -> Finding:
        if "pull" not in self._request.rights:
            return Finding("not requested", Outcome.SKIPPED, is_verified=False)
        if self.is_hidden:
            return await self._try_mirrors()
        try:
            await read_first_page(self._client, self.repository, self._first_page)
        except RegistryError as error:
            if error.code == FaultCode.PULL_DENIED:
                return await self._explain_denied_pull(error)
            if error.code not in MISSING:
                raise
            text = f"{self.repository} does not exist yet, but this login may read it"
        else:
            text = f"{self.repository} could be read"
        limit = await read_pull_limit(self._client)
        return Finding(f"{text}; {limit}" if limit else text)

    async def _try_mirrors(self) -> Finding:
        answer = await ask_mirrors(self._settings.mirrors, self.repository, self._settings)
        text = f"the registry mirror {answer.name} was asked in place of Docker Hub"
        if answer.is_open:
            return Finding(f"{text}, and it answers without a login")
        text = f"{text}; it requires a login, which only Docker sends there"
        return Finding(text, Outcome.WARNING, is_verified=False)

    async def _explain_denied_pull(self, error: RegistryError) -> Finding:
        """Find out if a denial may be the registry's answer for a repository that does not exist.

        Raises:
            RegistryError: the same error, if nothing shows that this login has any right.
        """
        if self._granted is not None and not self._granted >= PULL:
            raise error
        text = f"{self.repository} may not be read, as some registries say if it does not exist"
        if "push" in self._request.rights:
            try:
                self._pushed = await self._start_upload(self.repository)
            except RegistryError:
                raise error from None
            return Finding(f"{text}; a push is possible", Outcome.WARNING, is_verified=False)
        if other := await self._find_other_repository():
            return Finding(f"{text}; {other} could be read", repository=other)
        raise error

    async def _try_push(self) -> Finding:
        if "push" not in self._request.rights:
            return Finding("not requested", Outcome.SKIPPED, is_verified=False)
        if self.is_hidden:
            text = "not proved: a push goes to Docker Hub itself, which this server cannot reach"
            return Finding(text, Outcome.WARNING, is_verified=False)
        if self._pushed is not None:
            return self._pushed
        try:
            return await self._start_upload(self.repository)
        except RegistryError as error:
            login = self._request.login
            creates_no_repositories = login is not None and login.username == ECR_USERNAME
            if error.code != FaultCode.REPO_MISSING or not creates_no_repositories:
                raise
        text = f"{self.repository} does not exist, and this registry does not create it"
        if other := await self._find_other_repository():
            finding = await self._start_upload(other)
            return Finding(f"{text}; for {other} {finding.evidence}", repository=other)
        text = f"{text}: the right to push is not proved, name a repository that exists"
        return Finding(text, Outcome.WARNING, is_verified=False)

    async def _start_upload(self, repository: str) -> Finding:
        uploads = Uploads(self._client, repository)
        upload = await uploads.start()
        if not self._waits_for_cancel:
            self._stack.push_async_callback(_cancel, uploads, upload)
            return Finding("an upload was started, to be cancelled after the test")
        if await _cancel(uploads, upload):
            return Finding("an upload was started and cancelled")
        return Finding("an upload was started; the registry will remove it by itself")

    async def _find_other_repository(self) -> str | None:
        """Return a repository that this login may read, if possible of the same namespace."""
        try:
            names = await list_repositories(self._client, MAX_REPOSITORIES)
            namespace = self.repository.rpartition("/")[0]
            for name in sorted(names, key=lambda one: not one.startswith(f"{namespace}/"))[:1]:
                await list_tags(self._client, name, 1)
                return name
        except WharfError:
            pass
        return None

    async def _list_catalog(self) -> Finding:
        try:
            await list_repositories(self._client, 1)
        except WharfError:
            text = "this login may not list repositories, which is usual"
            return Finding(text, Outcome.SKIPPED, is_verified=False)
        self._lists_all = True
        return Finding("repositories can be listed")

    def find_excess(self) -> tuple[Excess, ...]:
        """Return what the login may do beyond need, as far as the stages have seen it."""
        login = self._request.login
        if login is None or not login.username:
            return ()
        return find_excess(
            self._claims,
            self.host.name,
            self.repository,
            login.username,
            lists_all=self._lists_all,
        )

    def _scopes(self) -> list[Scope]:
        actions = [PUSH_AND_CANCEL, PUSH, PULL] if "push" in self._request.rights else [PULL]
        return [Scope(self.repository, each) for each in actions]


async def _cancel(uploads: Uploads, upload: Upload) -> bool:
    try:
        async with asyncio.timeout(CANCEL_TIME_LIMIT.total_seconds()):
            await uploads.cancel(upload)
    except (WharfError, TimeoutError):
        return False  # the right to push is verified anyway
    return True
