"""Services and their tasks as a manager of their Swarm sees them, and its answers that say so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, JsonValue

from worker.engine.containers import DEPLOYMENT

_OVER = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}
_BROKEN = {"complete", "failed", "rejected"}


@dataclass(frozen=True)
class Task:
    """One container of a service, planned, running or over, as its manager sees it.

    ``turn`` and ``deployment`` are those of the spec that it was made by. It ``is_wanted`` until
    the Swarm has it end. ``at`` is when its state was last told, by its node's clock.
    """

    task_id: str
    slot: int
    node_id: str
    turn: int
    deployment: str
    image: str
    is_wanted: bool
    state: str
    at: datetime
    error: str
    exit_code: int
    container_id: str

    @property
    def is_running(self) -> bool:
        return self.is_wanted and self.state == "running"

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    @property
    def is_broken(self) -> bool:
        """Whether it ended by itself, or could not begin."""
        return self.state in _BROKEN


@dataclass(frozen=True)
class Service:
    """A service as its manager sees it; ``image`` is what its spec asks for.

    ``update`` is the state of its last update and ``update_says`` the Swarm's words for it, empty
    where there was none. ``document`` is its whole spec, and ``previous`` the one before its last
    update, both with the environment in clear.
    """

    service_id: str
    version: int
    name: str
    labels: Mapping[str, str]
    image: str
    replicas: int
    turn: int
    update: str
    update_says: str
    document: Mapping[str, JsonValue] = field(repr=False)
    previous: Mapping[str, JsonValue] | None = field(repr=False)

    @property
    def deployment(self) -> str:
        return self.labels.get(DEPLOYMENT, "")

    @property
    def previous_deployment(self) -> str:
        return _Spec.model_validate(self.previous).deployment if self.previous else ""

    @property
    def is_as_made(self) -> bool:
        """Whether nobody has changed it so far, its Swarm neither."""
        return self.previous is None and not self.update

    def made(self, task: Task) -> bool:
        """Whether a task is of the spec that it has now."""
        return (task.turn, task.deployment) == (self.turn, self.deployment)


class _Version(BaseModel):
    index: int = Field(alias="Index")


class _ContainerSpec(BaseModel):
    image: str = Field("", alias="Image")
    labels: dict[str, str] | None = Field(None, alias="Labels")


class _TaskSpec(BaseModel):
    container: _ContainerSpec = Field(
        default_factory=lambda: _ContainerSpec.model_validate({}), alias="ContainerSpec"
    )
    turn: int = Field(0, alias="ForceUpdate")


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


def _checked(document: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """As it is, to be given back one day; it has to be the shape of a spec."""
    _Spec.model_validate(document)
    return document


_Document = Annotated[dict[str, JsonValue], AfterValidator(_checked)]


class _Update(BaseModel):
    state: str = Field("", alias="State")
    message: str = Field("", alias="Message")


class ServiceAnswer(BaseModel):
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
            turn=spec.task.turn,
            update=self.update.state if self.update else "",
            update_says=self.update.message if self.update else "",
            document=self.document,
            previous=self.previous,
        )


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
        """Those of its node that it has: published in mode host."""
        found = (self.on_node.ports if self.on_node else None) or []
        return {(port.published, port.protocol) for port in found}


class TaskAnswer(BaseModel):
    task_id: str = Field(alias="ID")
    created_at: AwareDatetime = Field(alias="CreatedAt")
    slot: int = Field(0, alias="Slot")
    node_id: str = Field("", alias="NodeID")
    spec: _TaskSpec = Field(alias="Spec")
    wanted: str = Field("", alias="DesiredState")
    status: _TaskStatus = Field(alias="Status")

    def as_task(self) -> Task:
        container = self.status.container
        return Task(
            task_id=self.task_id,
            slot=self.slot,
            node_id=self.node_id,
            turn=self.spec.turn,
            deployment=(self.spec.container.labels or {}).get(DEPLOYMENT, ""),
            image=self.spec.container.image,
            is_wanted=self.wanted in {"ready", "running"},
            state=self.status.state,
            at=self.status.at,
            error=self.status.error,
            exit_code=container.exit_code if container else 0,
            container_id=container.container_id if container else "",
        )
