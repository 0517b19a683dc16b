"""What the handlers of deployments work with, besides what every handler does."""

from dataclasses import dataclass, field

from worker.deployments.host_paths import HostPaths
from worker.deployments.recovery import Unfinished
from worker.jobs.tools import Tools


@dataclass(frozen=True)
class DeploymentTools(Tools):
    """``unfinished`` knows what deployments have begun on this server.

    ``host_paths`` are what containers may mount of it.
    """

    unfinished: Unfinished = field(kw_only=True)
    host_paths: HostPaths = field(default_factory=HostPaths, kw_only=True)
