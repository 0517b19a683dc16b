"""Containers on one Engine: create, start, stop, rename, inspect, remove."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel, Field, JsonValue, RootModel, SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.containers import HealthProbe, Mounted, PublishedPort
from worker.engine.errors import EngineOperation
from worker.engine.transport.connection import CONTROL_TIMEOUT, Engine
from worker.engine.transport.text import parse_variables

APPLICATION = "io.wharfinger.application"
DEPLOYMENT = "io.wharfinger.deployment"
"""The labels that identify our containers and services."""

_TASK = "com.docker.swarm.task.id"
"""The Swarm's label of its containers; only the Swarm starts and stops these."""

STOP_TIMEOUT = timedelta(seconds=10)
"""The time for a container to stop by itself, as in `docker stop`, if it has none of its own."""

LAST_LINES = 20
_SECOND = 1_000_000_000
"""An Engine counts in nanoseconds."""


@dataclass(frozen=True)
class ContainerSpec:
    """The settings of a container to create; the Engine must hold the image ``image_id``.

    ``image`` is a name of the same image with its digest, which `docker ps` then shows in place of
    the id.
    """

    image_id: str
    labels: Mapping[str, str]
    environment: Mapping[str, SecretStr] = field(default_factory=dict)
    health_check: HealthProbe | None = None
    ports: Sequence[PublishedPort] = ()
    mounts: Sequence[Mounted] = ()
    stop_signal: str | None = None
    stop_grace_seconds: int | None = None
    image: str | None = None

    @property
    def published(self) -> frozenset[str]:
        """The ports of the server that it publishes, ``80/tcp``."""
        return frozenset(f"{port.published_port}/{port.protocol}" for port in self.ports)

    def body(self) -> dict[str, JsonValue]:
        """Return the body of ``POST /containers/create``, with the environment in plain text."""
        document: dict[str, JsonValue] = {
            "Image": self.image or self.image_id,
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
        if self.stop_signal is not None:
            document["StopSignal"] = self.stop_signal
        if self.stop_grace_seconds is not None:
            document["StopTimeout"] = self.stop_grace_seconds
        return document

    def _bindings(self) -> dict[str, JsonValue]:
        """Return the bindings; one port of a container may have several ports of the server."""
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
    """The health of a container: ``starting``, ``healthy`` or ``unhealthy``.

    ``output`` is that of the last probe, ``failed`` the number of consecutive failures. An Engine
    reports any container with a health check as unhealthy once it has ended, for whatever reason.
    """

    status: str
    output: str = ""
    failed: int = 0


@dataclass(frozen=True)
class Container:
    """A container as the Engine reports it; ``health`` is ``None`` without a health check.

    ``published`` are the ports of the server, ``80/tcp``, that it uses while it runs. ``may_run``
    is also set between two restarts; ``started_at`` identifies the current run. ``grace`` is the
    time for it to stop by itself; then it is killed. ``environment`` are its variables, with those
    of its image.
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
    grace: timedelta
    environment: Mapping[str, str] = field(repr=False)

    @property
    def is_healthy(self) -> bool:
        """True if it runs and its health check, if any, passes."""
        return self.is_running and (self.health is None or self.health.status == "healthy")


async def find(engine: Engine, label: str, value: str = "") -> list[Container]:
    """Return all containers with this label, running or not; without a value, of any value.

    The containers of Swarm services are not included.
    """
    operation = EngineOperation("list containers")
    filters = json.dumps({"label": [f"{label}={value}" if value else label]})
    params = {"all": "true", "filters": filters}
    response = await engine.request_as(
        _List, "GET", "containers/json", params=params, operation=operation
    )
    inspected = [await _inspect_if_there(engine, one.container_id) for one in response.root]
    return [one for one in inspected if one is not None and _TASK not in one.labels]


async def find_publishing(engine: Engine, ports: Sequence[PublishedPort]) -> list[str]:
    """Return the names of containers that publish one of these ports, without tasks of a Swarm."""
    requested = {(port.published_port, port.protocol) for port in ports}
    operation = EngineOperation("list containers")
    response = await engine.request_as(_List, "GET", "containers/json", operation=operation)
    return [
        one.name for one in response.root if one.published & requested and _TASK not in one.labels
    ]


async def inspect(engine: Engine, name: str) -> Container:
    """Return the container of this name or id.

    Raises:
        EngineError: ``container_missing``.
    """
    operation = EngineOperation(f"inspect container {name}", missing=FaultCode.CONTAINER_MISSING)
    response = await engine.request_as(
        _Inspected, "GET", f"containers/{name}/json", operation=operation
    )
    return response.as_container()


async def _inspect_if_there(engine: Engine, container_id: str) -> Container | None:
    try:
        return await inspect(engine, container_id)
    except EngineError as error:
        if error.code != FaultCode.CONTAINER_MISSING:
            raise
        return None


async def create(engine: Engine, name: str, spec: ContainerSpec) -> str:
    """Create a container of this name without starting it, and return its id.

    Raises:
        EngineError: ``name_taken``, or another refusal of the Engine.
    """
    operation = EngineOperation(f"create container {name}")
    params = {"name": name}
    response = await engine.request_as(
        _Created, "POST", "containers/create", params=params, body=spec.body(), operation=operation
    )
    return response.container_id


async def start(engine: Engine, container_id: str) -> None:
    """Start a container; do nothing if it already runs.

    Raises:
        EngineError: ``port_taken``, ``container_exited`` if its command cannot be run.
    """
    operation = EngineOperation("start container")
    await engine.request(
        "POST", f"containers/{container_id}/start", limit=STOP_TIMEOUT, operation=operation
    )


async def stop(engine: Engine, container: Container) -> None:
    """Stop a container by its signal, by force after its grace; do nothing if it does not run."""
    operation = EngineOperation(f"stop container {container.container_id[:12]}")
    params = {"t": str(int(container.grace.total_seconds()))}
    path = f"containers/{container.container_id}/stop"
    await engine.request(
        "POST", path, params=params, limit=container.grace + CONTROL_TIMEOUT, operation=operation
    )


async def kill(engine: Engine, container_id: str) -> None:
    """Kill a container at once; do nothing if it does not run."""
    operation = EngineOperation(f"kill container {container_id[:12]}")
    path = f"containers/{container_id}/stop"
    await engine.request("POST", path, params={"t": "0"}, limit=STOP_TIMEOUT, operation=operation)


async def restart(
    engine: Engine, container_id: str, grace: timedelta = timedelta(seconds=1)
) -> None:
    """Restart a container, even if it is just ending; start one that does not run."""
    operation = EngineOperation("start container")
    path = f"containers/{container_id}/restart"
    params = {"t": str(int(grace.total_seconds()))}
    limit = grace + CONTROL_TIMEOUT
    await engine.request("POST", path, params=params, limit=limit, operation=operation)


async def rename(engine: Engine, container_id: str, name: str) -> None:
    """Rename a container; raises `EngineError` (``name_taken``)."""
    operation = EngineOperation(f"rename container {container_id[:12]}")
    path = f"containers/{container_id}/rename"
    await engine.request("POST", path, params={"name": name}, operation=operation)


async def remove(engine: Engine, container_id: str, *, with_volumes: bool = False) -> None:
    """Remove a container, even if it runs; do nothing if it does not exist.

    It is killed first: Podman would wait for it to stop by itself. ``with_volumes`` also removes
    its anonymous volumes, if their data is not needed any more.
    """
    operation = EngineOperation(f"remove container {container_id[:12]}")
    params = {"force": "true", **({"v": "true"} if with_volumes else {})}
    try:
        await kill(engine, container_id)
        await engine.request(
            "DELETE",
            f"containers/{container_id}",
            params=params,
            limit=STOP_TIMEOUT,
            operation=operation,
        )
    except EngineError as error:
        if error.code != FaultCode.CONTAINER_MISSING:
            raise


async def last_lines(engine: Engine, container_id: str) -> str:
    """Return the last lines of its output, both streams in the order of writing."""
    params = {"stdout": "true", "stderr": "true", "tail": str(LAST_LINES)}
    operation = EngineOperation(f"read the log of container {container_id[:12]}")
    return await engine.output(
        f"containers/{container_id}/logs", params=params, operation=operation
    )


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
    """The response of ``GET /containers/json``."""


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
        output = self.log[-1].output if self.log else ""
        return Health(self.status, output, self.failed)


class _State(BaseModel):
    running: bool = Field(alias="Running")
    restarting: bool = Field(default=False, alias="Restarting")
    started_at: str = Field(default="", alias="StartedAt")
    exit_code: int = Field(default=0, alias="ExitCode")
    error: str = Field(default="", alias="Error")
    health: _Health | None = Field(default=None, alias="Health")


class _Config(BaseModel):
    labels: dict[str, str] | None = Field(default=None, alias="Labels")
    environment: list[str] | None = Field(default=None, alias="Env")
    stop_seconds: int | None = Field(default=None, alias="StopTimeout")

    @property
    def grace(self) -> timedelta:
        seconds = self.stop_seconds
        return STOP_TIMEOUT if seconds is None or seconds < 0 else timedelta(seconds=seconds)


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
            grace=self.config.grace,
            environment=parse_variables(self.config.environment),
        )
