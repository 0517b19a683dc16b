"""The base images of a build: pulled with the right login, then pinned to what the Engine holds.

With the containerd image store BuildKit does not build on the image that was found, but asks the
registry of its name first: for ``FROM app:1`` Docker Hub. A digest does not help if the image was
built or loaded here: BuildKit takes local content only from where it was pulled. So such an image
gets another name for the build, at a registry that nobody can offer.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.errors import EngineError
from shared.jobs.commands import ImageBuild
from shared.jobs.results import BaseImage
from shared.reference import Reference
from worker.builds.sources.dockerfile import Base
from worker.engine import images
from worker.engine.images import LocalImage
from worker.engine.transfer import OnProgress
from worker.engine.transport.connection import Engine
from worker.jobs import transfers
from worker.jobs.tools import Tools
from worker.login import EngineLogin
from worker.oci.images.platform import Platform, parse_platform

NOBODY = "localhost:1"
"""A registry that nobody can offer: only root may listen there, and no proxy is used for it."""


@dataclass(frozen=True)
class FoundBase:
    """A base and the local image that a build of it uses; ``None`` if the builder pulls it."""

    base: Base
    image: LocalImage | None
    login: EngineLogin | None = None
    was_pulled: bool = False

    @property
    def digest(self) -> str | None:
        """The digest of this name; ``None`` if the image is one of this Engine alone."""
        name = self.base.reference.name
        digests = self.image.repo_digests if self.image else ()
        return next((one.digest for one in digests if one.name == name), None)

    @property
    def needs_name(self) -> bool:
        """True if the builder would not take the local image by its digest."""
        is_in_containerd = self.image is not None and self.image.image_id == self.digest
        return is_in_containerd and not self.was_pulled

    def as_result(self) -> BaseImage:
        """Return the base as the job's result shows it."""
        return BaseImage(
            reference=str(self.base.reference),
            digest=self.digest,
            image_id=self.image.image_id if self.image else None,
        )


@asynccontextmanager
async def open_pins(
    engine: Engine, found: Sequence[FoundBase]
) -> AsyncIterator[Mapping[Base, str]]:
    """Yield the names by which BuildKit takes the found images; they are removed at the end.

    A base without a digest keeps its name: it is in a store where BuildKit takes it by its name.
    """
    pins = dict[Base, str]()
    names = list[str]()
    try:
        for one in found:
            if one.image is not None and one.needs_name:
                name = Reference(NOBODY, one.base.reference.repository, secrets.token_hex(8))
                await images.tag(engine, one.image.image_id, name)
                names.append(str(name))
                pins[one.base] = str(name)
            elif one.digest:
                pins[one.base] = f"{one.base.reference.name}@{one.digest}"
        yield pins
    finally:
        for text in names:
            with contextlib.suppress(EngineError):
                await images.remove(engine, text)


async def pull_bases(
    tools: Tools,
    command: ImageBuild,
    bases: Sequence[Base],
    logins: Sequence[EngineLogin],
    *,
    log: Callable[[str], None],
    on_progress: OnProgress,
) -> list[FoundBase]:
    """Pull private base images always, others if the Engine does not have them.

    BuildKit cannot pull a private base itself, and does not know the Engine's list of registries
    without TLS. Bases for another platform are left to the builder.
    """
    engine = tools.engine
    here = await images.find_platform(engine)
    found = []
    for base in bases:
        login = next((one for one in logins if one.host == base.reference.registry), None)
        wanted = base.platform or command.platform or ""
        local = await images.find(engine, str(base.reference))
        if not _is_for(here, wanted):
            fits = local is not None and parse_platform(wanted).runs(local.platform)
            found.append(FoundBase(base, local if fits else None, login))
            continue
        is_pulled = login is not None or local is None
        if is_pulled:
            log(f"pulling {base.reference}")
            pulled = await transfers.pull(tools, base.reference, login, on_progress)
            local = await images.inspect(engine, f"{base.reference.name}@{pulled.digest}")
        found.append(FoundBase(base, local, login, was_pulled=is_pulled))
    return found


def _is_for(here: Platform, wanted: str) -> bool:
    """Return whether images for ``wanted`` are those that this server pulls."""
    if not wanted:
        return True
    named = parse_platform(_ARCHITECTURES.get(wanted, wanted))
    architecture = _ARCHITECTURES.get(named.architecture, named.architecture)
    return here.distance(Platform(named.os, architecture, named.variant)) == (False, False)


_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
"""Other names of architectures that builders accept (containerd, ``platforms.Normalize``)."""
