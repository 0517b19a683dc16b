"""The nodes of a Swarm, as reported by a manager, and the platforms that they run."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field, JsonValue, RootModel

from worker.engine.errors import EngineOperation
from worker.engine.transport.connection import Engine

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""The architectures that nodes report, as images spell them."""

_COMPATIBLE_ARCHITECTURES = {"arm", "386"}
"""Architectures that other nodes run too: a Swarm compares only the names."""

_UNKNOWN_PLATFORM = "unknown/"
"""The platform of entries of an index that are not images, such as attestations."""


@dataclass(frozen=True)
class Node:
    """A node of a Swarm; ``is_up`` if it is connected, ``is_ready`` if it accepts new tasks."""

    node_id: str
    version: int
    name: str
    os: str
    architecture: str
    is_up: bool
    is_ready: bool

    def runs(self, platforms: Sequence[str]) -> bool:
        """Return whether it runs one of the platforms (``linux/amd64``); without any, assume so."""
        named = [platform.split("/") for platform in platforms]
        return not named or any(
            parts[0] == self.os and parts[1] in {self.architecture, *_COMPATIBLE_ARCHITECTURES}
            for parts in named
        )


async def nodes(engine: Engine) -> list[Node]:
    """Return all nodes of the Swarm that this Engine manages."""
    response = await engine.request_as(
        _List, "GET", "nodes", operation=EngineOperation("list nodes")
    )
    return [node.as_node() for node in response.root]


def known_platforms(platforms: Sequence[str]) -> tuple[str, ...]:
    """Return the platforms that name os and architecture."""
    return tuple(
        platform
        for platform in platforms
        if "/" in platform and not platform.startswith(_UNKNOWN_PLATFORM)
    )


def placement_platforms(platforms: Sequence[str]) -> list[JsonValue]:
    """Make ``Placement.Platforms``; an architecture with several names is left empty."""
    named = [platform.split("/") for platform in platforms]
    return [
        {"OS": parts[0], "Architecture": "" if parts[1] in _COMPATIBLE_ARCHITECTURES else parts[1]}
        for parts in named
    ]


class _Version(BaseModel):
    index: int = Field(0, alias="Index")


class _Spec(BaseModel):
    availability: str = Field("active", alias="Availability")


class _Status(BaseModel):
    state: str = Field("", alias="State")


class _Platform(BaseModel):
    architecture: str = Field("", alias="Architecture")
    os: str = Field("", alias="OS")


class _Description(BaseModel):
    name: str = Field("", alias="Hostname")
    platform: _Platform = Field(alias="Platform")


class _Node(BaseModel):
    node_id: str = Field(alias="ID")
    version: _Version = Field(alias="Version")
    spec: _Spec = Field(alias="Spec")
    status: _Status = Field(alias="Status")
    description: _Description = Field(alias="Description")

    def as_node(self) -> Node:
        here = self.description.platform
        return Node(
            self.node_id,
            self.version.index,
            self.description.name,
            here.os,
            _ARCHITECTURES.get(here.architecture, here.architecture),
            self.status.state == "ready",
            self.status.state == "ready" and self.spec.availability == "active",
        )


class _List(RootModel[list[_Node]]):
    """The response of ``GET /nodes``."""
