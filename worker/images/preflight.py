"""Before an image is pulled for a deployment: is it here? is it there? may we? is there room?

```text
here already, for the right platform ──► nothing is to be pulled, whatever its registry does
its registry: manifest, platform, layers ──► those that are missing here ──► room for them?
our own way to the registry is closed ──► the Engine is asked, which may have another one
```

What does not hold is refused before anything is changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from shared.errors import EngineError, RefusedNetworkError, RegistryError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImagePull
from shared.reference import Reference, parse_registry
from worker.engine import images
from worker.engine.errors import EngineOperation
from worker.engine.images import LocalImage
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import JobLog, open_log
from worker.jobs.mask import Mask
from worker.jobs.tools import Tools, sender
from worker.login import EngineLogin, Grants, Login
from worker.machine import find_free_bytes
from worker.oci.concurrency import run_concurrently
from worker.oci.images.platform import Platform, parse_platform
from worker.oci.images.remote_image import RemoteImage, find_image, make_platform_missing_error
from worker.oci.registry.client import RegistryClient

UNPACKED_TIMES = 3
"""How much larger than its compressed layer a file system is, which no manifest says.

Measured with gzip on what Debian puts into /usr: 2.3 (share) to 3.4 (Python packages). A layer that
holds what is compressed already grows less, so there is then more room than was asked for.
"""

MAX_IMAGES = 1000
"""How many images are compared, the newest first; an Engine answers for each in some ms."""

CLOSED = frozenset(
    {
        FaultCode.NETWORK_REFUSED,
        FaultCode.DNS_NOT_FOUND,
        FaultCode.DNS_FAILURE,
        FaultCode.CONN_REFUSED,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_RESET,
        FaultCode.TLS_UNKNOWN_CA,
        FaultCode.TLS_FAILED,
        FaultCode.TLS_CLIENT_CERT,
    }
)
"""What may only be true of us: an Engine has its own proxy, mirrors and certificates."""


@dataclass(frozen=True)
class Preflight:
    """How much of an image is to be fetched; sizes are of compressed layers.

    ``free_bytes`` is unknown where the Engine's disk is not to be seen from here.
    """

    layers: int
    layers_here: int
    size_bytes: int
    missing_bytes: int
    free_bytes: int | None

    @property
    def needed_bytes(self) -> int:
        """What is fetched, and what is then made of it: for a while both are there."""
        return self.missing_bytes * (1 + UNPACKED_TIMES)

    def __str__(self) -> str:
        free = "" if self.free_bytes is None else f", {_show(self.free_bytes)} free"
        here = f"{self.layers_here} of {self.layers} layers are here"
        return f"{here}, {_show(self.missing_bytes)} to fetch{free}"


async def prepare(
    command: ImagePull, grants: Grants, attempt: Attempt, tools: Tools
) -> LocalImage | None:
    """The image, if it is here already; else nothing, and it can be pulled.

    Raises:
        EngineError, RegistryError: ``platform_missing``, ``disk_full``, ``image_not_found``,
            ``pull_denied``, ``auth_bad_credentials`` …, or the registry cannot be reached.
    """
    mask = Mask(grant.login.secret.get_secret_value() for grant in grants.grants)
    async with open_log(sender(attempt), mask) as log:
        wanted = await _find_wanted(command, tools.engine)
        here = await _find_here(command.target, tools.engine, wanted)
        if here is not None:
            log.add(f"{command.reference} is here already")
            return here
        login = grants.login_for(command.target, "pull") if command.registry_id else None
        await _look_ahead(command.target, wanted, login, tools, log)
        return None


async def require_image(command: ImagePull, login: Login | None, tools: Tools) -> None:
    """Look at what an Engine has refused, which may say little of why.

    Raises:
        RegistryError: ``not_an_image``; nothing for any other trouble.
    """
    try:
        wanted = await _find_wanted(command, tools.engine)
        await _ask_registry(command.target, wanted, login, tools)
    except WharfError as error:
        if error.code == FaultCode.NOT_AN_IMAGE:
            raise


def count_shared(wanted: Sequence[str], held: Iterable[Sequence[str]]) -> int:
    """With how many of its layers, from the lowest up, some image begins that is held.

    A layer is stored as what it is on top of those below it: elsewhere it does not count.
    """
    return max((_count_common(wanted, layers) for layers in held), default=0)


async def _look_ahead(
    target: Reference, wanted: Platform, login: Login | None, tools: Tools, log: JobLog
) -> None:
    try:
        image = await _ask_registry(target, wanted, login, tools)
    except (RegistryError, RefusedNetworkError) as error:
        if error.code not in CLOSED:
            raise
        await _ask_engine(target, wanted, await tools.for_engine(login, target), tools.engine)
        log.add(f"{error.message}, but the Engine gets there: how much it fetches is not known")
        return
    found = await _measure(image, tools.engine)
    log.add(str(found))
    _require_room(target, found)


async def _find_wanted(command: ImagePull, engine: Engine) -> Platform:
    """The platform that is to be pulled, which this server runs."""
    here = await images.find_platform(engine)
    wanted = parse_platform(command.platform) if command.platform else here
    if not here.runs(wanted):
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{EngineOperation('pull', command.target)}: {wanted} is requested, but this server is "
            f"{here}",
            remedy="Change the application's platform, or its servers.",
        )
    return wanted


async def _find_here(target: Reference, engine: Engine, wanted: Platform) -> LocalImage | None:
    if target.digest is None:
        return None
    found = await images.find(engine, f"{target.name}@{target.digest}")
    return found if found and wanted.runs(found.platform) else None


async def _ask_registry(
    target: Reference, wanted: Platform, login: Login | None, tools: Tools
) -> RemoteImage:
    settings = await tools.connection_settings()
    async with RegistryClient(parse_registry(target.registry), login, settings) as registry:
        return await find_image(registry, target, wanted)


async def _ask_engine(
    target: Reference, wanted: Platform, login: EngineLogin | None, engine: Engine
) -> None:
    found = await images.distribution(engine, target, login)
    if found.platforms and not any(wanted.runs(parse_platform(one)) for one in found.platforms):
        raise make_platform_missing_error(target, wanted, ", ".join(found.platforms))


async def _measure(image: RemoteImage, engine: Engine) -> Preflight:
    shared = count_shared(image.diff_ids, await _find_held(engine))
    sizes = {layer.digest: layer.size_bytes for layer in image.layers}
    missing = {layer.digest: layer.size_bytes for layer in image.layers[shared:]}
    return Preflight(
        layers=len(image.layers),
        layers_here=shared,
        size_bytes=sum(sizes.values()),
        missing_bytes=sum(missing.values()),
        free_bytes=await find_free_bytes(engine),
    )


async def _find_held(engine: Engine) -> list[tuple[str, ...]]:
    """The layers of each image that the Engine has."""
    held: list[tuple[str, ...]] = []

    async def look(image_id: str) -> None:
        if found := await images.find(engine, image_id):
            held.append(found.diff_ids)

    await run_concurrently((await images.list_ids(engine))[:MAX_IMAGES], look)
    return held


def _require_room(target: Reference, found: Preflight) -> None:
    if found.free_bytes is not None and found.free_bytes < found.needed_bytes:
        raise EngineError(
            FaultCode.DISK_FULL,
            f"{EngineOperation('pull', target)}: to fetch and unpack it takes up to "
            f"{_megabytes(found.needed_bytes)}, {_megabytes(found.free_bytes)} are free",
        )


def _count_common(wanted: Sequence[str], layers: Sequence[str]) -> int:
    pairs = zip(wanted, layers, strict=False)
    return next(
        (place for place, (one, other) in enumerate(pairs) if one != other),
        min(len(wanted), len(layers)),
    )


def _show(size_bytes: int) -> str:
    is_large = size_bytes >= 10**9
    return f"{size_bytes / 10**9:.1f} GB" if is_large else _megabytes(size_bytes)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 10**6:.{0 if size_bytes >= 10**7 else 1}f} MB"
