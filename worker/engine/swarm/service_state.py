"""The state of services and tasks, as reported by a manager of their Swarm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, JsonValue

from worker.engine.containers import DEPLOYMENT, STOP_TIMEOUT

_FINAL_STATES = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}
_ENDED_STATES = {"complete", "failed", "rejected"}


@dataclass(frozen=True)
class Task:
    """A task of a service, as reported by a manager: one container, planned, running or ended.

    ``force_update`` and ``deployment`` are those of the spec that created it. ``is_desired`` until
    the Swarm stops it. ``at`` is when its state was last reported, by its node's clock.
    """

    task_id: str
    slot: int
    node_id: str
    force_update: int
    deployment: str
    image: str
    is_desired: bool
    state: str
    at: datetime
    error: str
    exit_code: int
    container_id: str

    @property
    def is_running(self) -> bool:
        return self.is_desired and self.state == "running"

    @property
    def is_over(self) -> bool:
        return self.state in _FINAL_STATES

    @property
    def is_broken(self) -> bool:
        """True if it ended by itself or could not start."""
        return self.state in _ENDED_STATES


@dataclass(frozen=True)
class Service:
    """A service as reported by a manager; ``image`` is that of its spec.

    ``update`` is the state of its last update and ``update_message`` the Swarm's message about it,
    both empty without an update. ``grace`` is the time for a task to stop by itself.
    ``has_health_check`` is set if the spec has one. ``document`` is its whole spec, and
    ``previous`` the one before the last update, both with the environment in plain text, as is
    ``environment``.
    """

    service_id: str
    version: int
    name: str
    labels: Mapping[str, str]
    image: str
    replicas: int
    force_update: int
    update: str
    update_message: str
    grace: timedelta
    has_health_check: bool
    environment: Sequence[str] = field(repr=False)
    document: Mapping[str, JsonValue] = field(repr=False)
    previous: Mapping[str, JsonValue] | None = field(repr=False)

    @property
    def deployment(self) -> str:
        return self.labels.get(DEPLOYMENT, "")

    @property
    def previous_deployment(self) -> str:
        return _Spec.model_validate(self.previous).deployment if self.previous else ""

    @property
    def is_unmodified(self) -> bool:
        """True if neither a person nor the Swarm has changed it since it was created."""
        return self.previous is None and not self.update

    def is_current(self, task: Task) -> bool:
        """Return whether a task was created by the current spec."""
        return (task.force_update, task.deployment) == (self.force_update, self.deployment)


class _Version(BaseModel):
    index: int = Field(alias="Index")


class _HealthCheck(BaseModel):
    test: list[str] | None = Field(None, alias="Test")


class _ContainerSpec(BaseModel):
    image: str = Field("", alias="Image")
    labels: dict[str, str] | None = Field(None, alias="Labels")
    environment: list[str] | None = Field(None, alias="Env")
    grace: int | None = Field(None, alias="StopGracePeriod")
    health_check: _HealthCheck | None = Field(None, alias="Healthcheck")


class _TaskSpec(BaseModel):
    container: _ContainerSpec = Field(
        default_factory=lambda: _ContainerSpec.model_validate({}), alias="ContainerSpec"
    )
    force_update: int = Field(0, alias="ForceUpdate")


class _Replicated(BaseModel):
    replicas: int = Field(0, alias="Replicas")


class _Mode(BaseModel):
    replicated: _Replicated | None = Field(None, alias="Replicated")


class _Spec(BaseModel):
    name: str = Field(alias="Name")
    labels: dict[str, str] | None = Field(None, alias="Labels")
    task: _TaskSpec = Field(alias="TaskTemplate")
    mode: _Mode = Field(alias="Mode")

    @property
    def deployment(self) -> str:
        return (self.labels or {}).get(DEPLOYMENT, "")


def _validated(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Validate the shape of a spec, and keep the document unchanged so that it can be restored."""
    _Spec.model_validate(document)
    return document


_Document = Annotated[dict[str, JsonValue], AfterValidator(_validated)]


class _Update(BaseModel):
    state: str = Field("", alias="State")
    message: str = Field("", alias="Message")


class ServiceResponse(BaseModel):
    service_id: str = Field(alias="ID")
    version: _Version = Field(alias="Version")
    document: _Document = Field(alias="Spec")
    previous: _Document | None = Field(None, alias="PreviousSpec")
    update: _Update | None = Field(None, alias="UpdateStatus")

    def as_service(self) -> Service:
        spec = _Spec.model_validate(self.document)
        replicated = spec.mode.replicated
        return Service(
            service_id=self.service_id,
            version=self.version.index,
            name=spec.name,
            labels=spec.labels or {},
            image=spec.task.container.image,
            replicas=replicated.replicas if replicated else 0,
            force_update=spec.task.force_update,
            update=self.update.state if self.update else "",
            update_message=self.update.message if self.update else "",
            grace=_span(spec.task.container.grace),
            has_health_check=_has_test(spec.task.container.health_check),
            environment=spec.task.container.environment or (),
            document=self.document,
            previous=self.previous,
        )


def _span(nanoseconds: int | None) -> timedelta:
    return STOP_TIMEOUT if nanoseconds is None else timedelta(microseconds=nanoseconds / 1000)


def _has_test(check: _HealthCheck | None) -> bool:
    return check is not None and (check.test or ["NONE"])[0] != "NONE"


class _ContainerStatus(BaseModel):
    container_id: str = Field("", alias="ContainerID")
    exit_code: int = Field(0, alias="ExitCode")


class _Port(BaseModel):
    published: int = Field(0, alias="PublishedPort")
    protocol: str = Field("tcp", alias="Protocol")


class _PortStatus(BaseModel):
    ports: list[_Port] | None = Field(None, alias="Ports")


class _TaskStatus(BaseModel):
    at: AwareDatetime = Field(alias="Timestamp")
    state: str = Field(alias="State")
    error: str = Field("", alias="Err")
    container: _ContainerStatus | None = Field(None, alias="ContainerStatus")
    on_node: _PortStatus | None = Field(None, alias="PortStatus")

    @property
    def ports(self) -> set[tuple[int, str]]:
        """The ports of its node that it publishes in mode host."""
        found = (self.on_node.ports if self.on_node else None) or []
        return {(port.published, port.protocol) for port in found}


class TaskResponse(BaseModel):
    task_id: str = Field(alias="ID")
    created_at: AwareDatetime = Field(alias="CreatedAt")
    slot: int = Field(0, alias="Slot")
    node_id: str = Field("", alias="NodeID")
    spec: _TaskSpec = Field(alias="Spec")
    desired_state: str = Field("", alias="DesiredState")
    status: _TaskStatus = Field(alias="Status")

    def as_task(self) -> Task:
        container = self.status.container
        return Task(
            task_id=self.task_id,
            slot=self.slot,
            node_id=self.node_id,
            force_update=self.spec.force_update,
            deployment=(self.spec.container.labels or {}).get(DEPLOYMENT, ""),
            image=self.spec.container.image,
            is_desired=self.desired_state in {"ready", "running"},
            state=self.status.state,
            at=self.status.at,
            error=self.status.error,
            exit_code=container.exit_code if container else 0,
            container_id=container.container_id if container else "",
        )
