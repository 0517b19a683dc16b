"""The state outside our database: the registry, the Engines, the requests that the front saw."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx2
from pydantic import BaseModel, Field, TypeAdapter

from shared.reference import Reference, parse_reference
from tests.chaos.load import STRANGER
from tests.chaos.scene import PASSWORD, USER, Scene
from worker.engine.transport.connection import Engine
from worker.oci.registry.manifest import ACCEPT

Row = dict[str, Any]


class _Image(BaseModel):
    tags: list[str] | None = Field(alias="RepoTags")
    digests: list[str] | None = Field(alias="RepoDigests")

    @property
    def names(self) -> list[str]:
        return [*(self.tags or ()), *(self.digests or ())]


_IMAGES = TypeAdapter(list[_Image])


SENT_AGAIN_SECONDS = 10.0
"""The time after a cut in which the Engine may send what it could not send during the cut."""


@dataclass(frozen=True)
class NetworkCut:
    """The time in which a server was cut off from the network, in seconds of this clock."""

    server_id: str
    begun: float
    over: float

    def explains(self, server_id: str, finished: float, written: float) -> bool:
        """Return whether a job of the server ended in the cut, and the write came right after."""
        is_during = self.begun <= finished <= self.over + SENT_AGAIN_SECONDS
        is_right_after = self.begun <= written <= self.over + SENT_AGAIN_SECONDS
        return server_id == self.server_id and is_during and is_right_after


@dataclass(frozen=True)
class Outside:
    """``engines`` has every name of every image, by server."""

    scene: Scene
    engines: dict[str, set[str]]

    @classmethod
    def look(cls, scene: Scene) -> Self:
        """Ask the Engines; the registry is asked when it comes to that."""
        pairs = zip(scene.servers, scene.fleet.hosts, strict=True)
        names = {server.server_id: asyncio.run(_names(host.docker_host)) for server, host in pairs}
        return cls(scene, names)

    def is_true(self, job: Row) -> bool:
        """Return whether a job that succeeded by its record did its work."""
        result = job["result"]
        match job["kind"]:
            case "image.push":
                pushed = _target(job)
                held = {self._digest(pushed), self._digest(pushed.with_digest(result["digest"]))}
                return held == {result["digest"]}
            case "image.pull":
                name = f"{_target(job).name}@{result['digest']}"
                return name in self.engines[job["server_id"]]
            case "image.tag":
                return self._is_tagged(job)
            case _:
                return bool(job["command"]["username"] != STRANGER)

    def has_effect(self, job: Row) -> bool:
        """Return whether the name of a push or a tag is there."""
        match job["kind"]:
            case "image.push":
                return self._digest(_target(job)) is not None
            case "image.tag":
                return self._is_tagged(job)
            case _:
                return False

    def late_writes(self, jobs: Iterable[Row], cuts: Sequence[NetworkCut] = ()) -> Iterator[str]:
        """Pushes whose tag was written after they had ended: by an attempt that went on.

        What an attempt had sent before it was stopped is not among them, nor what an Engine sent
        whose server was cut off when the job ended: a lease protects records, not a registry.
        """
        ended = {
            _target(job).repository: job
            for job in jobs
            if job["kind"] == "image.push" and job["finished_at"] is not None
        }
        for put in self.scene.front.puts:
            repository = put.path.removeprefix("/v2/").partition("/manifests/")[0]
            job = ended.get(repository)
            if job is None or put.is_abandoned:
                continue
            finished = job["finished_at"].timestamp()
            is_cut = any(cut.explains(job["server_id"], finished, put.at) for cut in cuts)
            if put.at > finished and not is_cut:
                yield job["job_id"]

    def _digest(self, reference: Reference) -> str | None:
        """Return what the registry holds, read without the front."""
        answer = httpx2.head(
            f"http://{self.scene.registry.host}/v2/{reference.repository}"
            f"/manifests/{reference.target}",
            headers=ACCEPT,
            auth=(USER, PASSWORD),
        )
        return answer.headers.get("Docker-Content-Digest") if answer.is_success else None

    def _is_tagged(self, job: Row) -> bool:
        target = _target(job)
        # Engines leave out the name of Docker's own registry.
        name = f"{target.name}:{target.tag}".removeprefix("docker.io/")
        return name in self.engines[job["server_id"]]


def _target(job: Row) -> Reference:
    return parse_reference(job["command"]["reference"])


async def _names(docker_host: str) -> set[str]:
    async with Engine.open(docker_host) as engine:
        images = _IMAGES.validate_python(await engine.request("GET", "images/json"))
    return {name for image in images for name in image.names}
