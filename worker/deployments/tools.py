"""The tools of the deployment handlers, in addition to those of every handler."""

from dataclasses import dataclass, field

from worker.deployments.host_paths import HostPaths
from worker.deployments.recovery import RecoveryJournal
from worker.jobs.tools import Tools


@dataclass(frozen=True)
class DeploymentTools(Tools):
    """The tools that deployments need.

    ``journal`` records which deployments have begun on this server. ``host_paths`` lists the
    directories of the server that containers may mount.
    """

    journal: RecoveryJournal = field(kw_only=True)
    host_paths: HostPaths = field(default_factory=HostPaths, kw_only=True)
