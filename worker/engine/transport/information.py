"""The Engine's ``/version`` and ``/info``, and the chosen API version."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from shared.errors import EngineError
from shared.faults import FaultCode

NEWEST_API = "1.51"
"""The newest API version that this code was tested with; Engines also accept older ones."""

Swarm = Literal["manager", "worker", "inactive", "pending", "locked", "error"]

PODMAN = "Podman"
_COMPONENT = "Podman Engine"
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"


@dataclass(frozen=True)
class EngineVersion:
    """The version of an Engine: ``28.5.2``, ``Podman 5.4.2``.

    ``os`` and ``architecture`` are spelled as in image platforms: ``linux``, ``amd64``.
    """

    engine: str
    api: str
    minimum_api: str
    os: str
    architecture: str


@dataclass(frozen=True)
class EngineInfo:
    """The configuration of an Engine.

    ``insecure_registries`` are hosts and networks that it uses plain HTTP for. ``mirrors`` are the
    URLs of registries that it asks for images of Docker Hub before Docker Hub. ``api_version`` is
    the one in use, out of ``oldest_`` to ``newest_``; ``storage_driver`` is that of the image
    store: ``overlay2``, ``overlayfs``. ``swarm`` is its role in a Swarm, or why it has none at the
    moment; ``node_id`` identifies it there. ``cgroup_driver`` is ``systemd`` or ``cgroupfs``.
    """

    name: str
    engine_version: str
    api_version: str
    oldest_api_version: str
    newest_api_version: str
    os: str
    architecture: str
    image_store: Literal["containerd", "graph"]
    storage_driver: str
    insecure_registries: tuple[str, ...]
    mirrors: tuple[str, ...]
    http_proxy: str
    https_proxy: str
    no_proxy: str
    data_root: str
    swarm: Swarm
    node_id: str
    cgroup_driver: str

    @property
    def is_podman(self) -> bool:
        return self.engine_version.startswith(f"{PODMAN} ")


class _Component(BaseModel):
    name: str = Field("", alias="Name")


class VersionResponse(BaseModel):
    version: str = Field(alias="Version")
    components: list[_Component] | None = Field(None, alias="Components")
    api: str = Field(alias="ApiVersion", pattern=r"^\d+\.\d+$")
    minimum_api: str = Field("1.12", alias="MinAPIVersion", pattern=r"^(\d+\.\d+)?$")
    os: str = Field(alias="Os")
    architecture: str = Field(alias="Arch")

    def as_version(self) -> EngineVersion:
        is_podman = any(one.name == _COMPONENT for one in self.components or [])
        version = f"{PODMAN} {self.version}" if is_podman else self.version
        return EngineVersion(
            version, self.api, self.minimum_api or self.api, self.os, self.architecture
        )


class _Index(BaseModel):
    is_secure: bool = Field(default=True, alias="Secure")


class _Registries(BaseModel):
    networks: list[str] | None = Field(None, alias="InsecureRegistryCIDRs")
    mirrors: list[str] | None = Field(None, alias="Mirrors")
    indexes: Mapping[str, _Index] | None = Field(None, alias="IndexConfigs")


class _Swarm(BaseModel):
    state: Literal["active", "inactive", "pending", "locked", "error", ""] = Field(
        "", alias="LocalNodeState"
    )
    is_manager: bool = Field(default=False, alias="ControlAvailable")
    node_id: str = Field("", alias="NodeID")

    def as_swarm(self) -> Swarm:
        match self.state:
            case "active":
                return "manager" if self.is_manager else "worker"
            case "":
                return "inactive"
            case other:
                return other


class InfoResponse(BaseModel):
    name: str = Field("", alias="Name")
    data_root: str = Field("", alias="DockerRootDir")
    http_proxy: str = Field("", alias="HttpProxy")
    https_proxy: str = Field("", alias="HttpsProxy")
    no_proxy: str = Field("", alias="NoProxy")
    driver: str = Field("", alias="Driver")
    driver_status: list[tuple[str, str]] | None = Field(None, alias="DriverStatus")
    cgroup_driver: str = Field("", alias="CgroupDriver")
    registries: _Registries | None = Field(None, alias="RegistryConfig")
    swarm: _Swarm = Field(default_factory=lambda: _Swarm.model_validate({}), alias="Swarm")

    def as_info(self, version: EngineVersion, *, api_version: str) -> EngineInfo:
        """Combine both responses; a proxy's user and password are removed."""
        registries = self.registries or _Registries.model_validate({})
        in_containerd = ("driver-type", _CONTAINERD_STORE) in (self.driver_status or [])
        return EngineInfo(
            name=self.name,
            engine_version=version.engine,
            api_version=api_version,
            oldest_api_version=version.minimum_api,
            newest_api_version=version.api,
            os=version.os,
            architecture=version.architecture,
            image_store="containerd" if in_containerd else "graph",
            storage_driver=self.driver,
            insecure_registries=_insecure(registries),
            mirrors=tuple(_without_user(url) for url in registries.mirrors or []),
            http_proxy=_without_user(self.http_proxy),
            https_proxy=_without_user(self.https_proxy),
            no_proxy=self.no_proxy,
            data_root=self.data_root,
            swarm=self.swarm.as_swarm(),
            node_id=self.swarm.node_id,
            cgroup_driver=self.cgroup_driver,
        )


def choose_api_version(version: EngineVersion) -> str:
    """Return the newest API version that both sides support.

    Raises:
        EngineError: ``engine_api_version``, the Engine no longer speaks any that we do.
    """
    if _ordered(version.minimum_api) > _ordered(NEWEST_API):
        raise EngineError(
            FaultCode.ENGINE_API_VERSION,
            f"the Docker Engine {version.engine} requires API {version.minimum_api} or newer, "
            f"this worker supports up to {NEWEST_API}",
            remedy="Install a newer worker on this server.",
        )
    return min(version.api, NEWEST_API, key=_ordered)


def _without_user(proxy: str) -> str:
    return re.sub(r"//[^/@]*@", "//", proxy)


def _ordered(api: str) -> tuple[int, ...]:
    return tuple(int(part) for part in api.split("."))


def _insecure(registries: _Registries) -> tuple[str, ...]:
    indexes = registries.indexes or {}
    hosts = [name for name, index in indexes.items() if not index.is_secure]
    return (*sorted(hosts), *(registries.networks or []))
