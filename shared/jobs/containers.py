"""The settings of a container or a service that a deployment runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class HealthProbe(BaseModel):
    """A command that exits with 0 in a healthy container, and its timing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    command: tuple[str, ...]
    interval_seconds: int = 30
    timeout_seconds: int = 30
    start_period_seconds: int = 0
    retries: int = 3

    @property
    def longest_seconds(self) -> int:
        """Return the longest time until the result is known."""
        each = self.interval_seconds + self.timeout_seconds
        return self.start_period_seconds + each * self.retries


class PublishedPort(BaseModel):
    """A container's ``target_port``, published at ``published_port`` of its server.

    A service's port is published at every node of its Swarm (``ingress``), or at the nodes that run
    it (``host``).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    published_port: int
    target_port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    publish_mode: Literal["ingress", "host"] = "ingress"


class Mounted(BaseModel):
    """A directory of the server (``bind``) or a named ``volume``, at ``mount_path``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["bind", "volume"]
    source: str
    mount_path: str
    read_only: bool = False
