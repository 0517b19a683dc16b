"""Check an image before a deployment pulls it: presence, platform, permission and disk space.

```text
local image for the right platform ──► nothing to pull, whatever its registry does
registry: manifest, platform, layers ──► layers that are missing here ──► disk space for them
registry not reachable from the worker ──► ask the Engine, which may have another way
registry that counts each manifest as a pull ──► only whether the image is there
```

A failed check changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.errors import EngineError, RefusedNetworkError, RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull
from shared.reference import Reference, parse_registry
from worker.engine import images
from worker.engine.compression import require_unpackable
from worker.engine.errors import EngineOperation
from worker.engine.images import LocalImage
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import JobLog, open_log
from worker.jobs.logins import find_login
from worker.jobs.mask import Mask
from worker.jobs.second_opinion import Transfer, look_ahead
from worker.jobs.tools import Tools, log_sender
from worker.login import EngineLogin, Grants, Login
from worker.machine import find_free_bytes
from worker.oci.concurrency import run_concurrently
from worker.oci.images.platform import Platform, parse_platform
from worker.oci.images.remote_image import RemoteImage, find_image, make_platform_missing_error
from worker.oci.providers.quotas import counts_manifests
from worker.oci.registry.client import RegistryClient

UNPACKED_TIMES = 3
"""The assumed ratio of an unpacked layer to its compressed size, which no manifest states.

Measured with gzip on Debian's files below /usr: 2.3 (share) to 3.4 (Python packages). A layer of
compressed files grows less, so the estimate is then too high.
"""

MAX_IMAGES = 1000
"""The number of images that are compared, newest first; the Engine needs some ms for each."""

UNREACHABLE_CODES = frozenset(
    {
        FaultCode.NETWORK_REFUSED,
        FaultCode.DNS_NOT_FOUND,
        FaultCode.DNS_FAILURE,
        FaultCode.CONN_REFUSED,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_RESET,
        FaultCode.NO_ROUTE,
        FaultCode.TLS_UNKNOWN_CA,
        FaultCode.TLS_FAILED,
        FaultCode.TLS_CLIENT_CERT,
        FaultCode.PLAIN_HTTP_REFUSED,
    }
)
"""Errors that the Engine may not have, as it has its own proxy, mirrors and certificates."""


@dataclass(frozen=True)
class Preflight:
    """The part of an image that has to be fetched; sizes are of compressed layers.

    ``free_bytes`` is ``None`` if the Engine's disk is not visible to the worker.
    """

    layers: int
    layers_here: int
    size_bytes: int
    missing_bytes: int
    free_bytes: int | None

    @property
    def needed_bytes(self) -> int:
        """Return the space for fetched and unpacked layers, which exist at the same time."""
        return self.missing_bytes * (1 + UNPACKED_TIMES)

    def __str__(self) -> str:
        free = "" if self.free_bytes is None else f", {_show(self.free_bytes)} free"
        here = f"{self.layers_here} of {self.layers} layers are on this server"
        return f"{here}, {_show(self.missing_bytes)} to fetch{free}"


async def prepare(
    command: ImagePull, grants: Grants, attempt: Attempt, tools: Tools
) -> LocalImage | None:
    """Return the image if it is here already, else ``None`` after checking that it can be pulled.

    Raises:
        EngineError, RegistryError: ``platform_missing``, ``disk_full``, ``image_not_found``,
            ``pull_denied``, ``auth_bad_credentials`` …, or the registry cannot be reached.
    """
    mask = Mask(grant.login.secret.get_secret_value() for grant in grants.grants)
    async with open_log(log_sender(attempt), mask) as log:
        requested = await _find_requested_platform(command, tools.engine)
        here = await _find_here(command.target, tools.engine, requested)
        if here is not None:
            log.add(f"{command.reference} is already on this server")
            return here
        login = (
            await find_login(grants, command.target, "pull", tools) if command.registry_id else None
        )
        await _check_image(command.target, requested, login, tools, log)
        return None


def count_shared(requested: Sequence[str], held: Iterable[Sequence[str]]) -> int:
    """Return how many of the lowest layers are also the lowest layers of some held image.

    A layer is stored on top of those below it, so the same layer elsewhere does not count.
    """
    return max((_count_common(requested, layers) for layers in held), default=0)


async def _check_image(
    target: Reference, requested: Platform, login: Login | None, tools: Tools, log: JobLog
) -> None:
    if counts_manifests(target.registry):
        await look_ahead(Transfer("pull", target, login), tools)
        log.add(
            f"{target.registry} counts each manifest that is read as a pull: platform and size are "
            "not checked before the pull"
        )
        return
    try:
        image = await _find_remote_image(target, requested, login, tools)
    except (RegistryError, RefusedNetworkError) as error:
        if error.code not in UNREACHABLE_CODES:
            raise
        await _require_platform(
            target, requested, await tools.engine_login(login, target), tools.engine
        )
        log.add(
            f"{error.message}, but the Engine reaches the registry: the size to fetch is unknown"
        )
        return
    await require_unpackable(tools.engine, target, image)
    found = await _measure(image, tools.engine)
    log.add(str(found))
    _require_room(target, found)


async def _find_requested_platform(command: ImagePull, engine: Engine) -> Platform:
    """Return the platform to pull, after checking that this server runs it."""
    here = await images.find_platform(engine)
    requested = parse_platform(command.platform) if command.platform else here
    if not here.runs(requested):
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{EngineOperation('pull', command.target)}: {requested} is requested, but this server "
            f"is {here}",
            remedy="Change the platform or the servers of the application.",
        )
    return requested


async def _find_here(target: Reference, engine: Engine, requested: Platform) -> LocalImage | None:
    if target.digest is None:
        return None
    found = await images.find(engine, f"{target.name}@{target.digest}")
    return found if found and requested.runs(found.platform) else None


async def _find_remote_image(
    target: Reference, requested: Platform, login: Login | None, tools: Tools
) -> RemoteImage:
    settings = await tools.connection_settings()
    async with RegistryClient(parse_registry(target.registry), login, settings) as registry:
        return await find_image(registry, target, requested)


async def _require_platform(
    target: Reference, requested: Platform, login: EngineLogin | None, engine: Engine
) -> None:
    found = await images.distribution(engine, target, login)
    if found.platforms and not any(requested.runs(parse_platform(one)) for one in found.platforms):
        raise make_platform_missing_error(target, requested, ", ".join(found.platforms))


async def _measure(image: RemoteImage, engine: Engine) -> Preflight:
    shared = count_shared(image.diff_ids, await find_held(engine))
    sizes = {layer.digest: layer.size_bytes for layer in image.layers}
    missing = {layer.digest: layer.size_bytes for layer in image.layers[shared:]}
    return Preflight(
        layers=len(image.layers),
        layers_here=shared,
        size_bytes=sum(sizes.values()),
        missing_bytes=sum(missing.values()),
        free_bytes=await find_free_bytes(engine),
    )


async def find_held(engine: Engine) -> list[tuple[str, ...]]:
    """Return the layers of each image that the Engine has."""
    held: list[tuple[str, ...]] = []

    async def add_layers(image_id: str) -> None:
        if found := await images.find(engine, image_id):
            held.append(found.diff_ids)

    try:
        ids = await images.list_ids(engine)
    except EngineError as error:
        if error.code in {FaultCode.ENGINE_UNREACHABLE, FaultCode.ENGINE_STREAM_TRUNCATED}:
            raise
        # The containerd store fails to list images while one of them is removed.
        return held
    await run_concurrently(ids[:MAX_IMAGES], add_layers)
    return held


def _require_room(target: Reference, found: Preflight) -> None:
    if found.free_bytes is not None and found.free_bytes < found.needed_bytes:
        raise EngineError(
            FaultCode.DISK_FULL,
            f"{EngineOperation('pull', target)}: the image needs up to "
            f"{_megabytes(found.needed_bytes)}, but {_megabytes(found.free_bytes)} are free",
        )


def _count_common(requested: Sequence[str], layers: Sequence[str]) -> int:
    pairs = zip(requested, layers, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other),
        min(len(requested), len(layers)),
    )


def _show(size_bytes: int) -> str:
    is_large = size_bytes >= 10**9
    return f"{size_bytes / 10**9:.1f} GB" if is_large else _megabytes(size_bytes)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 10**6:.{0 if size_bytes >= 10**7 else 1}f} MB"
