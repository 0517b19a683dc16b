"""Images on one Engine: pull, push, tag, look, remove, and what an Engine asks registries."""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel, Field, RootModel

from shared.errors import EngineError, InvalidReferenceError
from shared.faults import FaultCode
from shared.reference import Reference, RegistryHost, parse_reference
from worker.engine.credentials import credential, registry_auth, require_host
from worker.engine.errors import Doing
from worker.engine.transfer import OnProgress, transfer
from worker.engine.transport.connection import Engine
from worker.login import EngineLogin
from worker.oci.images.platform import Platform

REGISTRY_ANSWER = timedelta(seconds=75)
"""An Engine gives a silent registry 15 s, an unreachable one 30 s, and may try twice."""


@dataclass(frozen=True)
class LocalImage:
    """An image that an Engine holds; its id is no digest of a registry's.

    ``diff_ids`` are the digests of what its layers hold, the lowest first. It ``is_checked`` if it
    has a health check of its own.
    """

    image_id: str
    repo_digests: tuple[Reference, ...]
    os: str
    architecture: str
    size_bytes: int
    variant: str = ""
    diff_ids: tuple[str, ...] = ()
    is_checked: bool = False

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


@dataclass(frozen=True)
class PulledImage:
    digest: str
    image_id: str


@dataclass(frozen=True)
class PushedImage:
    """``size_bytes`` is the manifest's, as in its descriptor."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Distribution:
    """A descriptor in a registry, with the platforms (``linux/amd64``) it stands for."""

    digest: str
    media_type: str
    size_bytes: int
    platforms: tuple[str, ...]


async def pull(
    engine: Engine,
    reference: Reference,
    login: EngineLogin | None,
    on_progress: OnProgress,
    idle: timedelta,
    *,
    platform: str | None = None,
) -> PulledImage:
    """Fetch one image; cancelling it stops the Engine's download.

    Of an index the Engine takes the image for its own platform, unless it is given one.

    Raises:
        EngineError: ``auth_missing`` where the login belongs to another host (nothing is sent),
            ``platform_missing`` where the image came but cannot run here, or what went wrong.
    """
    doing = Doing("pull", reference, login)
    params = {"fromImage": reference.name, "tag": reference.target}
    if platform:
        params["platform"] = platform
    ending = await transfer(
        engine, "images/create", params, doing, on_progress=on_progress, idle=idle
    )
    if not ending.digest or reference.digest not in {None, ending.digest}:
        raise EngineError(
            FaultCode.DIGEST_MISMATCH, f"{doing}: the Engine reports {ending.digest or 'no digest'}"
        )
    image = await inspect(engine, f"{reference.name}@{ending.digest}")
    await require_platform(engine, image, doing)
    return PulledImage(ending.digest, image.image_id)


async def push(
    engine: Engine,
    reference: Reference,
    login: EngineLogin | None,
    on_progress: OnProgress,
    idle: timedelta,
) -> PushedImage:
    """Send the local image of this name and tag; cancelling it stops the Engine's upload.

    Raises:
        InvalidReferenceError: no tag: an Engine would push every tag of the repository.
        EngineError: ``auth_missing`` where the login belongs to another host (nothing is sent), or
            what went wrong.
    """
    if not reference.tag:
        raise InvalidReferenceError(
            f"push {reference}: no tag", remedy="Say which tag of the repository to push."
        )
    doing = Doing("push", reference, login)
    path, params = f"images/{reference.name}/push", {"tag": reference.tag}
    ending = await transfer(engine, path, params, doing, on_progress=on_progress, idle=idle)
    return PushedImage(ending.digest, ending.size_bytes)


async def tag(engine: Engine, source: str, target: Reference) -> None:
    """Give the local image ``source`` (a name or an id) another name."""
    if not target.tag:
        raise InvalidReferenceError(f"tag {target}: no tag")
    params = {"repo": target.name, "tag": target.tag}
    await engine.request("POST", f"images/{source}/tag", params=params, doing=Doing("tag", target))


async def inspect(engine: Engine, name: str) -> LocalImage:
    """The local image of this name or id.

    Raises:
        EngineError: ``local_image_missing``.
    """
    answer = await engine.request_as(
        _Image, "GET", f"images/{name}/json", doing=Doing(f"inspect {name}")
    )
    return answer.as_image()


async def find(engine: Engine, name: str) -> LocalImage | None:
    """As `inspect`; ``None`` where the Engine holds no such image."""
    try:
        return await inspect(engine, name)
    except EngineError as error:
        if error.code != FaultCode.LOCAL_IMAGE_MISSING:
            raise
        return None


async def list_ids(engine: Engine) -> tuple[str, ...]:
    """The ids of all images that the Engine holds, the newest first."""
    answer = await engine.request_as(_List, "GET", "images/json", doing=Doing("list images"))
    return tuple(dict.fromkeys(image.image_id for image in answer.root))


async def remove(engine: Engine, name: str, *, force: bool = False) -> None:
    """Take a name from a local image, and the image away with its last name."""
    params = {"force": "true"} if force else {}
    await engine.request("DELETE", f"images/{name}", params=params, doing=Doing(f"remove {name}"))


async def distribution(
    engine: Engine, reference: Reference, login: EngineLogin | None
) -> Distribution:
    """What the registry holds under this reference, as this Engine sees it."""
    doing = Doing("distribution", reference, login)
    answer = await engine.request_as(
        _DistributionAnswer,
        "GET",
        f"distribution/{reference.name}{_separator(reference)}{reference.target}/json",
        headers=registry_auth(doing),
        limit=REGISTRY_ANSWER,
        doing=doing,
    )
    return answer.as_distribution()


async def authenticate(engine: Engine, host: RegistryHost, login: EngineLogin) -> None:
    """What ``docker login`` does; that it succeeds proves little, that it fails tells why.

    Raises:
        EngineError: the Engine could not log in, in its own words.
    """
    doing = Doing(f"log in to {host.name}", None, login)
    require_host(login, host.name, doing)
    await engine.request("POST", "auth", body=credential(login), limit=REGISTRY_ANSWER, doing=doing)


async def require_platform(engine: Engine, image: LocalImage, doing: Doing) -> None:
    """A single-platform image comes without any complaint, whatever it was built for.

    Raises:
        EngineError: ``platform_missing``.
    """
    here = await find_platform(engine)
    if not here.runs(image.platform):
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{doing}: the image is for {image.platform}, this server is {here}",
        )


async def find_platform(engine: Engine) -> Platform:
    """What the Engine's server is."""
    version = await engine.version()
    return Platform(version.os, version.architecture)


def _separator(reference: Reference) -> str:
    return "@" if reference.digest else ":"


class _RootFS(BaseModel):
    layers: list[str] | None = Field(None, alias="Layers")


class _Health(BaseModel):
    test: list[str] | None = Field(None, alias="Test")


class _Config(BaseModel):
    health: _Health | None = Field(None, alias="Healthcheck")

    @property
    def is_checked(self) -> bool:
        """``["NONE"]`` takes away the check of the image below."""
        test = (self.health.test if self.health else None) or ["NONE"]
        return test[0] != "NONE"


class _Image(BaseModel):
    image_id: str = Field(alias="Id")
    repo_digests: list[str] | None = Field(None, alias="RepoDigests")
    os: str = Field("", alias="Os")
    architecture: str = Field("", alias="Architecture")
    variant: str = Field("", alias="Variant")
    size_bytes: int = Field(0, alias="Size")
    root_fs: _RootFS = Field(_RootFS(), alias="RootFS")
    config: _Config | None = Field(None, alias="Config")

    def as_image(self) -> LocalImage:
        names = [name for name in self.repo_digests or [] if not name.startswith("<none>")]
        return LocalImage(
            self.image_id,
            tuple(parse_reference(name) for name in names),
            self.os,
            self.architecture,
            self.size_bytes,
            self.variant,
            tuple(self.root_fs.layers or ()),
            is_checked=self.config is not None and self.config.is_checked,
        )


class _Listed(BaseModel):
    image_id: str = Field(alias="Id")


class _List(RootModel[list[_Listed]]):
    """What an Engine answers when it is asked for all its images."""


class _Platform(BaseModel):
    os: str = ""
    architecture: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class _Descriptor(BaseModel):
    digest: str
    media_type: str = Field("", alias="mediaType")
    size: int = 0


class _DistributionAnswer(BaseModel):
    descriptor: _Descriptor = Field(alias="Descriptor")
    platforms: list[_Platform] | None = Field(None, alias="Platforms")

    def as_distribution(self) -> Distribution:
        platforms = tuple(str(platform) for platform in self.platforms or [])
        found = self.descriptor
        return Distribution(found.digest, found.media_type, found.size, platforms)
