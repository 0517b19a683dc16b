"""Images on one Engine: pull, push, tag, inspect, remove, and its requests to registries."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel, Field, RootModel

from shared.errors import EngineError, InvalidReferenceError
from shared.faults import FaultCode
from shared.reference import Reference, RegistryHost, parse_reference
from worker.engine.credentials import make_auth_config, make_registry_auth_header, require_host
from worker.engine.errors import EngineOperation
from worker.engine.transfer import OnProgress, make_truncated_error, transfer
from worker.engine.transport.connection import Engine
from worker.engine.transport.text import parse_variables
from worker.login import EngineLogin
from worker.oci.images.platform import Platform

REGISTRY_TIMEOUT = timedelta(seconds=75)
"""An Engine waits 15 s for a silent registry, 30 s for an unreachable one, and may retry."""


@dataclass(frozen=True)
class LocalImage:
    """An image that an Engine holds; its id is not a digest in a registry.

    ``diff_ids`` are the digests of its uncompressed layers, the lowest first; ``environment`` are
    its variables.
    """

    image_id: str
    repo_digests: tuple[Reference, ...]
    os: str
    architecture: str
    size_bytes: int
    variant: str = ""
    diff_ids: tuple[str, ...] = ()
    has_health_check: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)


@dataclass(frozen=True)
class PulledImage:
    digest: str
    image_id: str


@dataclass(frozen=True)
class PushedImage:
    """A pushed image; ``size_bytes`` is that of the manifest, as in its descriptor."""

    digest: str
    size_bytes: int


@dataclass(frozen=True)
class Distribution:
    """A descriptor in a registry, with its platforms (``linux/amd64``)."""

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
    """Pull one image; cancelling it stops the Engine's download.

    From an index the Engine pulls the image for its own platform, or for the given one.

    Raises:
        EngineError: ``auth_missing`` if the login is for another host (nothing is sent),
            ``platform_missing`` if the image cannot run here, or another error.
    """
    operation = EngineOperation("pull", reference, login)
    params = {"fromImage": reference.name, "tag": reference.target}
    if platform:
        params["platform"] = platform
    result = await transfer(
        engine,
        "images/create",
        params,
        operation,
        on_progress=on_progress,
        idle=idle,
        may_end_with_part=True,
    )
    if not result.succeeded:
        result.digest = await _find_pulled(engine, reference, result.last_part, operation)
    if not result.digest:
        raise EngineError(
            FaultCode.DIGEST_MISMATCH, f"{operation}: the Docker Engine reports no digest of it"
        )
    if reference.digest not in {None, result.digest}:
        raise EngineError(
            FaultCode.DIGEST_MISMATCH,
            f"{operation}: the Docker Engine pulled the digest {result.digest} instead of the "
            f"expected {reference.digest}",
        )
    image = await inspect(engine, f"{reference.name}@{result.digest}")
    if not (image.os or image.architecture):
        # An Engine with the containerd store pulls a chart or another artifact, too.
        with contextlib.suppress(EngineError):
            await remove(engine, f"{reference.name}@{result.digest}")
        raise EngineError(
            FaultCode.NOT_AN_IMAGE, f"{operation}: it has no platform, so it is not an image"
        )
    await require_platform(engine, image, operation)
    return PulledImage(result.digest, image.image_id)


async def _find_pulled(
    engine: Engine, reference: Reference, image_id: str, operation: EngineOperation
) -> str:
    """Return the digest of the image that Podman pulled; ``image_id`` is the start of its id.

    Raises:
        EngineError: ``engine_stream_truncated``, it is not there.
    """
    image = await find(engine, str(reference))
    if image is None or not image.image_id.removeprefix("sha256:").startswith(image_id):
        raise make_truncated_error(operation)
    digests = [one.digest or "" for one in image.repo_digests if one.name == reference.name]
    return reference.digest if reference.digest in digests else next(iter(digests), "")


async def push(
    engine: Engine,
    reference: Reference,
    login: EngineLogin | None,
    on_progress: OnProgress,
    idle: timedelta,
) -> PushedImage:
    """Push the local image of this name and tag; cancelling it stops the Engine's upload.

    Raises:
        InvalidReferenceError: no tag: an Engine would push every tag of the repository.
        EngineError: ``auth_missing`` if the login is for another host (nothing is sent), or
            another error.
    """
    if not reference.tag:
        raise InvalidReferenceError(
            f"push {reference}: the reference has no tag", remedy="Name the tag to push."
        )
    operation = EngineOperation("push", reference, login, FaultCode.LOCAL_IMAGE_MISSING)
    path, params = f"images/{reference.name}/push", {"tag": reference.tag}
    result = await transfer(engine, path, params, operation, on_progress=on_progress, idle=idle)
    return PushedImage(result.digest, result.size_bytes)


async def tag(engine: Engine, source: str, target: Reference) -> None:
    """Give the local image ``source`` (a name or an id) another name."""
    if not target.tag:
        raise InvalidReferenceError(f"tag {target}: the reference has no tag")
    params = {"repo": target.name, "tag": target.tag}
    operation = EngineOperation("tag", target, missing=FaultCode.LOCAL_IMAGE_MISSING)
    await engine.request("POST", f"images/{source}/tag", params=params, operation=operation)


async def inspect(engine: Engine, name: str) -> LocalImage:
    """Return the local image of this name or id.

    Raises:
        EngineError: ``local_image_missing``.
    """
    response = await engine.request_as(
        _Image, "GET", f"images/{name}/json", operation=_inspection(name)
    )
    return response.as_image()


def _inspection(name: str) -> EngineOperation:
    return EngineOperation(f"inspect {name}", missing=FaultCode.LOCAL_IMAGE_MISSING)


async def find(engine: Engine, name: str) -> LocalImage | None:
    """Return the local image as `inspect`; ``None`` if the Engine does not hold it."""
    try:
        return await inspect(engine, name)
    except EngineError as error:
        if error.code != FaultCode.LOCAL_IMAGE_MISSING:
            raise
        return None


async def list_ids(engine: Engine) -> tuple[str, ...]:
    """Return the ids of all images of the Engine, the newest first."""
    response = await engine.request_as(
        _List, "GET", "images/json", operation=EngineOperation("list images")
    )
    return tuple(dict.fromkeys(image.image_id for image in response.root))


async def list_names(engine: Engine) -> tuple[str, ...]:
    """Return the names of all images of the Engine, with their tags."""
    response = await engine.request_as(
        _List, "GET", "images/json", operation=EngineOperation("list images")
    )
    return tuple(name for image in response.root for name in image.names or [])


async def remove(engine: Engine, name: str, *, force: bool = False) -> None:
    """Remove a name of a local image, and with its last name the image."""
    params = {"force": "true"} if force else {}
    operation = EngineOperation(f"remove {name}", missing=FaultCode.LOCAL_IMAGE_MISSING)
    await engine.request("DELETE", f"images/{name}", params=params, operation=operation)


async def distribution(
    engine: Engine, reference: Reference, login: EngineLogin | None
) -> Distribution:
    """Return the registry's descriptor of a reference, as this Engine requests it."""
    operation = EngineOperation("look up", reference, login)
    response = await engine.request_as(
        _DistributionResponse,
        "GET",
        f"distribution/{reference.name}{_separator(reference)}{reference.target}/json",
        headers=make_registry_auth_header(operation),
        limit=REGISTRY_TIMEOUT,
        operation=operation,
    )
    return response.as_distribution()


async def authenticate(engine: Engine, host: RegistryHost, login: EngineLogin) -> None:
    """Log in like ``docker login``; a failure is meaningful, a success verifies little.

    Raises:
        EngineError: the Engine could not log in.
    """
    operation = EngineOperation(f"log in to {host.name}", None, login)
    require_host(login, host.name, operation)
    await engine.request(
        "POST", "auth", body=make_auth_config(login), limit=REGISTRY_TIMEOUT, operation=operation
    )


async def require_platform(engine: Engine, image: LocalImage, operation: EngineOperation) -> None:
    """Check the platform: an Engine pulls a single-platform image of another platform, too.

    Raises:
        EngineError: ``platform_missing``.
    """
    here = await find_platform(engine)
    if not here.runs(image.platform):
        raise EngineError(
            FaultCode.PLATFORM_MISSING,
            f"{operation}: the image is for {image.platform}, this server is {here}",
        )


async def find_platform(engine: Engine) -> Platform:
    """Return the platform of the Engine's server."""
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
    environment: list[str] | None = Field(None, alias="Env")

    @property
    def has_health_check(self) -> bool:
        """True if there is a health check; ``["NONE"]`` disables that of the base image."""
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
            has_health_check=self.config is not None and self.config.has_health_check,
            environment=parse_variables(self.config.environment if self.config else None),
        )


class _Listed(BaseModel):
    image_id: str = Field(alias="Id")
    names: list[str] | None = Field(None, alias="RepoTags")


class _List(RootModel[list[_Listed]]):
    """The response of ``GET /images/json``."""


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


class _DistributionResponse(BaseModel):
    descriptor: _Descriptor = Field(alias="Descriptor")
    platforms: list[_Platform] | None = Field(None, alias="Platforms")

    def as_distribution(self) -> Distribution:
        platforms = tuple(str(platform) for platform in self.platforms or [])
        found = self.descriptor
        return Distribution(found.digest, found.media_type, found.size, platforms)
