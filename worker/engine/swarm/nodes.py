"""The nodes of a Swarm, as one of its managers sees them, and which of them an image is for."""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field, JsonValue, RootModel

from worker.engine.errors import Doing
from worker.engine.transport.connection import Engine

_SPELT = {"x86_64": "amd64", "aarch64": "arm64"}
"""What a node says of itself, as images spell it."""

_ANYWHERE = {"arm", "386"}
"""Architectures that nodes of other names run too: a Swarm compares nothing but names."""

_NO_PLATFORM = "unknown/"
"""How an index lists what belongs to an image and is none, as attestations."""


@dataclass(frozen=True)
class Node:
    """One Engine of a Swarm; ``is_up`` if it is there, ``is_ready`` if it takes new tasks now."""

    node_id: str
    version: int
    name: str
    os: str
    architecture: str
    is_up: bool
    is_ready: bool

    def runs(self, platforms: Sequence[str]) -> bool:
        """Whether it is for one of these (``linux/amd64``); nobody knows where there are none."""
        named = [platform.split("/") for platform in platforms]
        return not named or any(
            parts[0] == self.os and parts[1] in {self.architecture, *_ANYWHERE} for parts in named
        )


async def nodes(engine: Engine) -> list[Node]:
    """All nodes of the Swarm that this Engine manages."""
    answer = await engine.request_as(_List, "GET", "nodes", doing=Doing("list nodes"))
    return [node.as_node() for node in answer.root]


def known(platforms: Sequence[str]) -> tuple[str, ...]:
    """Those that say what they are, os and architecture."""
    return tuple(
        platform
        for platform in platforms
        if "/" in platform and not platform.startswith(_NO_PLATFORM)
    )


def placement(platforms: Sequence[str]) -> list[JsonValue]:
    """``Placement.Platforms`` of a service; without an architecture where names would mislead."""
    named = [platform.split("/") for platform in platforms]
    return [
        {"OS": parts[0], "Architecture": "" if parts[1] in _ANYWHERE else parts[1]}
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
            _SPELT.get(here.architecture, here.architecture),
            self.status.state == "ready",
            self.status.state == "ready" and self.spec.availability == "active",
        )


class _List(RootModel[list[_Node]]):
    """What is answered to ``GET /nodes``."""
