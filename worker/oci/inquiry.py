"""Ask a registry how far a pull or a push would get now, with few requests and little time.

```text
route ──► ping ──► login ──► pull: manifest of the reference, image for the platform, its parts
                         └─► push: start of an upload, which is cancelled
```

It is asked where a Docker Engine gave no clear answer, and before an Engine is asked for something
that would take it long to fail at.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.errors import RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.diagnosis import Right, Stage
from shared.reference import Reference, parse_registry
from worker.login import Login
from worker.oci.auth.scope import PULL, PUSH, PUSH_AND_CANCEL, Scope
from worker.oci.concurrency import run_concurrently
from worker.oci.images.platform import Platform
from worker.oci.images.remote_image import RemoteImage, find_image
from worker.oci.registry import manifests
from worker.oci.registry.authentication import authenticate
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.presence import require_present
from worker.oci.registry.uploads import Uploads
from worker.oci.transport.settings import ConnectionSettings

LIMIT = timedelta(seconds=5)
CANCEL_LIMIT = timedelta(seconds=1)

STEP_LIMIT = timedelta(seconds=2.5)
"""The limit of each step, so that a silent registry is named with its stage within `LIMIT`."""

MAX_PARTS = 10
"""The number of layers that are looked for; the whole inquiry sends at most twice as many requests.
"""

_CONNECTION_STAGES = {
    FaultCode.NETWORK_REFUSED: Stage.POLICY,
    FaultCode.DNS_NOT_FOUND: Stage.DNS,
    FaultCode.DNS_FAILURE: Stage.DNS,
    FaultCode.CONN_REFUSED: Stage.TCP,
    FaultCode.NO_ROUTE: Stage.TCP,
    FaultCode.TLS_UNKNOWN_CA: Stage.TLS,
    FaultCode.TLS_EXPIRED: Stage.TLS,
    FaultCode.TLS_NAME_MISMATCH: Stage.TLS,
    FaultCode.TLS_NOT_OFFERED: Stage.TLS,
    FaultCode.TLS_FAILED: Stage.TLS,
    FaultCode.TLS_CLIENT_CERT: Stage.TLS,
    FaultCode.PLAIN_HTTP_REFUSED: Stage.TLS,
}


@dataclass(frozen=True)
class Inquiry:
    """A pull or push of one reference with one login.

    With a ``platform`` the image for it is read, too; with ``with_parts`` its layers are looked
    for. Both are for pulls.
    """

    reference: Reference
    login: Login | None
    right: Right
    platform: Platform | None = None
    with_parts: bool = False


@dataclass(frozen=True)
class Findings:
    """The stage that was reached, and the error there; ``None`` if nothing is wrong.

    ``is_complete`` if every stage passed: then the pull or push is possible as far as we see.
    ``is_open`` if the registry asked for no login at ``/v2/``, ``has_logged_in`` if it asked for
    the login and accepted it.
    """

    stage: Stage
    error: RegistryError | None = None
    is_complete: bool = False
    is_open: bool = False
    has_logged_in: bool = False
    image: RemoteImage | None = None
    seconds: float = 0.0


async def inquire(
    inquiry: Inquiry, settings: ConnectionSettings, *, limit: timedelta = LIMIT
) -> Findings:
    """Run the stages until one fails; nothing is raised, and nothing remains at the registry."""
    run = _Run(inquiry, _hurried(settings))
    begun = time.monotonic()
    try:
        async with asyncio.timeout(limit.total_seconds()):
            await run.carry_out()
    except RegistryError as error:
        found = run.findings(error)
    except TimeoutError:
        found = run.findings(_make_overdue(inquiry.reference.registry, limit))
    except WharfError:
        found = run.findings(None)  # an address that this worker may not ask
    else:
        found = replace(run.findings(None), is_complete=True)
    return replace(found, seconds=time.monotonic() - begun)


def _make_overdue(host: str, limit: timedelta) -> RegistryError:
    return RegistryError(
        FaultCode.CONN_TIMEOUT, f"{host} did not answer within {limit.total_seconds():g} s"
    )


def _hurried(settings: ConnectionSettings) -> ConnectionSettings:
    deadlines = replace(
        settings.deadlines,
        dns=min(settings.deadlines.dns, STEP_LIMIT),
        tcp=min(settings.deadlines.tcp, STEP_LIMIT),
        tls=min(settings.deadlines.tls, STEP_LIMIT),
        response=min(settings.deadlines.response, STEP_LIMIT),
        idle=min(settings.deadlines.idle, STEP_LIMIT),
    )
    return replace(settings, deadlines=deadlines)


class _Run:
    """One run of the stages, and the stage that it has reached."""

    def __init__(self, inquiry: Inquiry, settings: ConnectionSettings) -> None:
        self._inquiry = inquiry
        self._settings = settings
        self._stage = Stage.TCP
        self._is_open = False
        self._has_logged_in = False
        self._image: RemoteImage | None = None

    def findings(self, error: RegistryError | None) -> Findings:
        if error is not None and error.code == FaultCode.PULL_DENIED:
            error = self._correct(error)
        code = FaultCode(error.code) if error else None
        stage = _CONNECTION_STAGES.get(code, self._stage) if code else self._stage
        return Findings(
            stage,
            error,
            is_open=self._is_open,
            has_logged_in=self._has_logged_in,
            image=self._image,
        )

    def _correct(self, error: RegistryError) -> RegistryError:
        """Return ``push_denied`` if a token server refused a push without a word about it."""
        if self._inquiry.right != "push":
            return error
        return RegistryError(
            FaultCode.PUSH_DENIED, error.message, evidence=error.evidence, stage=error.stage
        )

    async def carry_out(self) -> None:
        inquiry = self._inquiry
        host = parse_registry(inquiry.reference.registry)
        async with RegistryClient(host, inquiry.login, self._settings) as client:
            await client.route()
            self._stage = Stage.PING
            self._is_open = await client.ping()
            self._stage = Stage.AUTH
            if not self._is_open:
                await authenticate(client, *self._scopes())
                self._has_logged_in = client.login is not None
            if inquiry.right == "push":
                await self._push(client)
            else:
                await self._pull(client)

    def _scopes(self) -> list[Scope]:
        actions = [PUSH_AND_CANCEL, PUSH] if self._inquiry.right == "push" else [PULL]
        return [Scope(self._inquiry.reference.repository, each) for each in actions]

    async def _push(self, client: RegistryClient) -> None:
        self._stage = Stage.PUSH
        uploads = Uploads(client, self._inquiry.reference.repository)
        upload = await uploads.start()
        with suppress(WharfError, TimeoutError):
            async with asyncio.timeout(CANCEL_LIMIT.total_seconds()):
                await uploads.cancel(upload)

    async def _pull(self, client: RegistryClient) -> None:
        self._stage = Stage.PULL
        inquiry, target = self._inquiry, self._inquiry.reference
        if inquiry.platform is None:
            await manifests.describe(client, target.repository, target.target)
            return
        self._image = image = await find_image(client, target, inquiry.platform)
        if inquiry.with_parts:
            layers = {layer.digest: layer for layer in image.layers}

            async def look_for(digest: str) -> None:
                await require_present(client, target.repository, layers[digest])

            await run_concurrently(list(layers)[:MAX_PARTS], look_for)
