"""Containers on one Engine: make, start, stop, name, look at, remove."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel, Field, JsonValue, RootModel, SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import HealthProbe, Mounted, PublishedPort
from worker.engine.errors import Doing
from worker.engine.transport.connection import CONTROL, Engine

APPLICATION = "io.wharfinger.application"
DEPLOYMENT = "io.wharfinger.deployment"
"""The labels by which we know our containers and services."""

_TASK = "com.docker.swarm.task.id"
"""What a Swarm has put onto a container is its own: only it starts and ends that."""

STOP = timedelta(seconds=10)
"""What a container has to end by itself, as `docker stop` gives it; then it is killed."""

LAST_LINES = 20
_SECOND = 1_000_000_000
"""An Engine counts in nanoseconds."""


@dataclass(frozen=True)
class ContainerSpec:
    """What a container is made of; ``image_id`` is one that the Engine holds."""

    image_id: str
    labels: Mapping[str, str]
    environment: Mapping[str, SecretStr] = field(default_factory=dict)
    health_check: HealthProbe | None = None
    ports: Sequence[PublishedPort] = ()
    mounts: Sequence[Mounted] = ()

    @property
    def published(self) -> frozenset[str]:
        """The server's ports that it takes, ``80/tcp``."""
        return frozenset(f"{port.published_port}/{port.protocol}" for port in self.ports)

    def body(self) -> dict[str, JsonValue]:
        """That of ``POST /containers/create``, with the environment in clear."""
        document: dict[str, JsonValue] = {
            "Image": self.image_id,
            "Labels": dict(self.labels),
            "Env": [f"{name}={value.get_secret_value()}" for name, value in self._variables()],
            "ExposedPorts": {_target(port): {} for port in self.ports},
            "HostConfig": {
                "RestartPolicy": {"Name": "unless-stopped"},
                "PortBindings": self._bindings(),
                "Mounts": [mount_document(mount) for mount in self.mounts],
            },
        }
        if self.health_check is not None:
            document["Healthcheck"] = health_document(self.health_check)
        return document

    def _bindings(self) -> dict[str, JsonValue]:
        """One port of a container may be reached at several of its server."""
        return {
            target: [
                {"HostPort": str(port.published_port)}
                for port in self.ports
                if _target(port) == target
            ]
            for target in map(_target, self.ports)
        }

    def _variables(self) -> list[tuple[str, SecretStr]]:
        return sorted(self.environment.items())


@dataclass(frozen=True)
class Health:
    """``starting``, ``healthy`` or ``unhealthy``, what the last probe said, how many failed last.

    An Engine calls any container with a check unhealthy that is over, whatever ended it.
    """

    status: str
    said: str = ""
    failed: int = 0


@dataclass(frozen=True)
class Container:
    """A container as the Engine sees it; ``health`` is ``None`` where nothing asks for it.

    ``published`` are its server's ports, ``80/tcp``, that it takes while it runs. It ``may_run``
    also while it is between two of its restarts; ``started_at`` tells its last run from others.
    """

    container_id: str
    name: str
    image_id: str
    labels: Mapping[str, str]
    published: frozenset[str]
    is_running: bool
    may_run: bool
    restarts: int
    started_at: str
    exit_code: int
    error: str
    health: Health | None

    @property
    def is_well(self) -> bool:
        """Whether it runs, and its health check, if it has one, passes."""
        return self.is_running and (self.health is None or self.health.status == "healthy")


async def find(engine: Engine, label: str, value: str = "") -> list[Container]:
    """All containers with this label, running or not; of any value where none is given.

    Those of services are left to their Swarm.
    """
    doing = Doing("list containers")
    filters = json.dumps({"label": [f"{label}={value}" if value else label]})
    params = {"all": "true", "filters": filters}
    answer = await engine.request_as(_List, "GET", "containers/json", params=params, doing=doing)
    seen = [await _inspect_if_there(engine, one.container_id) for one in answer.root]
    return [one for one in seen if one is not None and _TASK not in one.labels]


async def publishing(engine: Engine, ports: Sequence[PublishedPort]) -> list[str]:
    """The names of containers that have one of these ports of their host; no Swarm's tasks."""
    wanted = {(port.published_port, port.protocol) for port in ports}
    doing = Doing("list containers")
    answer = await engine.request_as(_List, "GET", "containers/json", doing=doing)
    return [one.name for one in answer.root if one.published & wanted and _TASK not in one.labels]


async def inspect(engine: Engine, name: str) -> Container:
    """The container of this name or id.

    Raises:
        EngineError: ``container_missing``.
    """
    doing = Doing(f"inspect container {name}")
    answer = await engine.request_as(_Inspected, "GET", f"containers/{name}/json", doing=doing)
    return answer.as_container()


async def _inspect_if_there(engine: Engine, container_id: str) -> Container | None:
    try:
        return await inspect(engine, container_id)
    except EngineError as error:
        if error.code != FaultCode.CONTAINER_MISSING:
            raise
        return None


async def create(engine: Engine, name: str, spec: ContainerSpec) -> str:
    """Make a container of this name, not started yet; gives its id.

    Raises:
        EngineError: ``name_taken``, or what the Engine does not like about it.
    """
    doing = Doing(f"create container {name}")
    params = {"name": name}
    answer = await engine.request_as(
        _Created, "POST", "containers/create", params=params, body=spec.body(), doing=doing
    )
    return answer.container_id


async def start(engine: Engine, container_id: str) -> None:
    """Start it; one that runs already is left alone.

    Raises:
        EngineError: ``port_taken``, ``container_exited`` where its command cannot be run.
    """
    doing = Doing("start container")
    await engine.request("POST", f"containers/{container_id}/start", limit=STOP, doing=doing)


async def stop(engine: Engine, container_id: str) -> None:
    """End it, by force after `STOP`; one that does not run is left alone."""
    doing = Doing(f"stop container {container_id[:12]}")
    params = {"t": str(int(STOP.total_seconds()))}
    path = f"containers/{container_id}/stop"
    await engine.request("POST", path, params=params, limit=STOP + CONTROL, doing=doing)


async def kill(engine: Engine, container_id: str) -> None:
    """End it at once; one that does not run is left alone."""
    doing = Doing(f"kill container {container_id[:12]}")
    path = f"containers/{container_id}/stop"
    await engine.request("POST", path, params={"t": "0"}, limit=STOP, doing=doing)


async def restart(engine: Engine, container_id: str) -> None:
    """Have it run from its start, also where it is just about to end."""
    doing = Doing("start container")
    path = f"containers/{container_id}/restart"
    await engine.request("POST", path, params={"t": "1"}, limit=STOP, doing=doing)


async def rename(engine: Engine, container_id: str, name: str) -> None:
    """Raises `EngineError` (``name_taken``)."""
    doing = Doing(f"rename container {container_id[:12]}")
    path = f"containers/{container_id}/rename"
    await engine.request("POST", path, params={"name": name}, doing=doing)


async def remove(engine: Engine, container_id: str, *, with_volumes: bool = False) -> None:
    """Remove it, also while it runs; one that is gone already is fine.

    ``with_volumes``: those too that have no name, where nothing can be in them that is missed.
    """
    doing = Doing(f"remove container {container_id[:12]}")
    params = {"force": "true", **({"v": "true"} if with_volumes else {})}
    try:
        await engine.request(
            "DELETE", f"containers/{container_id}", params=params, limit=STOP, doing=doing
        )
    except EngineError as error:
        if error.code != FaultCode.CONTAINER_MISSING:
            raise


async def last_lines(engine: Engine, container_id: str) -> str:
    """What it printed last, both streams in the order in which they were written."""
    params = {"stdout": "true", "stderr": "true", "tail": str(LAST_LINES)}
    doing = Doing(f"read the log of container {container_id[:12]}")
    return await engine.output(f"containers/{container_id}/logs", params=params, doing=doing)


def _target(port: PublishedPort) -> str:
    return f"{port.target_port}/{port.protocol}"


def mount_document(mount: Mounted) -> dict[str, JsonValue]:
    return {
        "Type": mount.type,
        "Source": mount.source,
        "Target": mount.mount_path,
        "ReadOnly": mount.read_only,
    }


def health_document(probe: HealthProbe) -> dict[str, JsonValue]:
    return {
        "Test": ["CMD", *probe.command],
        "Interval": probe.interval_seconds * _SECOND,
        "Timeout": probe.timeout_seconds * _SECOND,
        "StartPeriod": probe.start_period_seconds * _SECOND,
        "Retries": probe.retries,
    }


class _Published(BaseModel):
    port: int = Field(0, alias="PublicPort")
    protocol: str = Field("", alias="Type")


class _Listed(BaseModel):
    container_id: str = Field(alias="Id")
    names: list[str] = Field(default_factory=list, alias="Names")
    labels: dict[str, str] = Field(default_factory=dict, alias="Labels")
    ports: list[_Published] | None = Field(None, alias="Ports")

    @property
    def name(self) -> str:
        return self.names[0].lstrip("/") if self.names else self.container_id

    @property
    def published(self) -> set[tuple[int, str]]:
        return {(each.port, each.protocol) for each in self.ports or [] if each.port}


class _List(RootModel[list[_Listed]]):
    """What is answered to ``GET /containers/json``."""


class _Created(BaseModel):
    container_id: str = Field(alias="Id")


class _Probe(BaseModel):
    output: str = Field(default="", alias="Output")


class _Health(BaseModel):
    status: str = Field(alias="Status")
    failed: int = Field(default=0, alias="FailingStreak")
    log: list[_Probe] | None = Field(default=None, alias="Log")

    def as_health(self) -> Health | None:
        if self.status in {"", "none"}:
            return None
        said = self.log[-1].output if self.log else ""
        return Health(self.status, said, self.failed)


class _State(BaseModel):
    running: bool = Field(alias="Running")
    restarting: bool = Field(default=False, alias="Restarting")
    started_at: str = Field(default="", alias="StartedAt")
    exit_code: int = Field(default=0, alias="ExitCode")
    error: str = Field(default="", alias="Error")
    health: _Health | None = Field(default=None, alias="Health")


class _Config(BaseModel):
    labels: dict[str, str] | None = Field(default=None, alias="Labels")


class _Binding(BaseModel):
    port: str = Field(default="", alias="HostPort")


class _HostConfig(BaseModel):
    bindings: dict[str, list[_Binding] | None] | None = Field(default=None, alias="PortBindings")

    @property
    def published(self) -> frozenset[str]:
        return frozenset(
            f"{binding.port}/{target.partition('/')[2]}"
            for target, bindings in (self.bindings or {}).items()
            for binding in bindings or ()
        )


class _Inspected(BaseModel):
    container_id: str = Field(alias="Id")
    name: str = Field(alias="Name")
    image_id: str = Field(alias="Image")
    restarts: int = Field(default=0, alias="RestartCount")
    state: _State = Field(alias="State")
    config: _Config = Field(alias="Config")
    host_config: _HostConfig = Field(alias="HostConfig")

    def as_container(self) -> Container:
        return Container(
            container_id=self.container_id,
            name=self.name.removeprefix("/"),
            image_id=self.image_id,
            labels=self.config.labels or {},
            published=self.host_config.published,
            is_running=self.state.running and not self.state.restarting,
            may_run=self.state.running or self.state.restarting,
            restarts=self.restarts,
            started_at=self.state.started_at,
            exit_code=self.state.exit_code,
            error=self.state.error,
            health=self.state.health.as_health() if self.state.health else None,
        )
