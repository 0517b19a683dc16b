"""The base images of a build: found on the Engine, or pulled with the right login."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from shared.jobs.commands import ImageBuild
from shared.jobs.results import BaseImage
from shared.reference import Reference, parse_registry
from worker.builds.sources.dockerfile import Base
from worker.engine import images
from worker.engine.images import LocalImage
from worker.engine.transfer import OnProgress
from worker.jobs import transfers
from worker.jobs.tools import Tools
from worker.login import EngineLogin
from worker.oci.images.platform import Platform, parse_platform
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient


@dataclass(frozen=True)
class FoundBase:
    """A base and the local image that a build of it uses; ``None`` if the builder pulls it.

    ``resolved`` is the digest that its registry gives the name now, where a policy asks for it.
    """

    base: Base
    image: LocalImage | None
    login: EngineLogin | None = None
    was_pulled: bool = False
    resolved: str | None = None

    @property
    def digest(self) -> str | None:
        """The digest of this name; ``None`` if the image is one of this Engine alone."""
        if self.resolved:
            return self.resolved
        name = self.base.reference.name
        digests = self.image.repo_digests if self.image else ()
        return next((one.digest for one in digests if one.name == name), None)

    @property
    def needs_name(self) -> bool:
        """True if the builder would not take the local image by its digest."""
        if self.resolved:
            return False
        is_in_containerd = self.image is not None and self.image.image_id == self.digest
        return is_in_containerd and not self.was_pulled

    def as_result(self) -> BaseImage:
        """Return the base as the job's result shows it."""
        return BaseImage(
            reference=str(self.base.reference),
            digest=self.digest,
            image_id=self.image.image_id if self.image else None,
        )


async def pull_bases(
    tools: Tools,
    command: ImageBuild,
    bases: Sequence[Base],
    logins: Mapping[Reference, EngineLogin],
    *,
    log: Callable[[str], None],
    on_progress: OnProgress,
    is_held: bool = False,
) -> list[FoundBase]:
    """Pull private base images always, others if the Engine does not have them.

    If they are ``is_held`` to a policy, all are pulled, or resolved to their digest: the name of a
    local image does not prove where it is from.

    BuildKit cannot pull a private base itself, and does not know the Engine's list of registries
    without TLS. Bases for another platform are left to the builder.

    Raises:
        EngineError: a base cannot be pulled.
        RegistryError: a base for another platform cannot be resolved.
    """
    engine = tools.engine
    here = await images.find_platform(engine)
    found = []
    for base in bases:
        login = logins.get(base.reference)
        wanted = base.platform or command.platform or ""
        local = None if is_held else await images.find(engine, str(base.reference))
        if not _is_for(here, wanted):
            if is_held:
                digest = await _resolve(base.reference, login, tools)
                found.append(FoundBase(base, None, login, resolved=digest))
                continue
            fits = local is not None and parse_platform(wanted).runs(local.platform)
            found.append(FoundBase(base, local if fits else None, login))
            continue
        is_pulled = login is not None or local is None
        resolved = None
        if is_pulled:
            log(f"pulling {base.reference}")
            pulled = await transfers.pull(tools, base.reference, login, on_progress)
            local = await images.inspect(engine, f"{base.reference.name}@{pulled.digest}")
            resolved = pulled.digest if is_held else None
        found.append(FoundBase(base, local, login, was_pulled=is_pulled, resolved=resolved))
    return found


async def _resolve(reference: Reference, login: EngineLogin | None, tools: Tools) -> str:
    if reference.digest is not None:
        return reference.digest
    host = parse_registry(reference.registry)
    async with RegistryClient(host, login, await tools.connection_settings()) as registry:
        return (await manifests.describe(registry, reference.repository, reference.target)).digest


def _is_for(here: Platform, wanted: str) -> bool:
    """Return whether images for ``wanted`` are those that this server pulls."""
    if not wanted:
        return True
    named = parse_platform(_ARCHITECTURES.get(wanted, wanted))
    architecture = _ARCHITECTURES.get(named.architecture, named.architecture)
    return here.distance(Platform(named.os, architecture, named.variant)) == (False, False)


_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
"""Other names of architectures that builders accept (containerd, ``platforms.Normalize``)."""
