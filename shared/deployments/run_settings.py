"""Run settings of an application, as deployments and rollback points store them; no secrets."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.jobs.commands import ContainerReplace, Replace, ServiceReplace
from shared.jobs.containers import HealthProbe, Mounted, PublishedPort

Runtime = Literal["container", "service", "none"]


class RunSettings(BaseModel):
    """An application's settings at the time of the request; runtime ``none`` runs nothing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    runtime: Runtime = "container"
    name: str
    replicas: int = 1
    platform: str | None = None
    health_check: HealthProbe | None = None
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[Mounted, ...] = ()
    stop_signal: str | None = None
    stop_grace_seconds: int | None = None

    def command(
        self,
        application_id: str,
        deployment_id: str,
        reference: str,
        *,
        registry_id: str | None,
        made_by: str | None,
    ) -> Replace | None:
        """Return the command that runs an image; ``registry_id`` is for Engines that pull it."""
        fields = {
            **self.model_dump(),
            "application_id": application_id,
            "deployment_id": deployment_id,
            "reference": reference,
            "registry_id": registry_id,
            "made_by": made_by,
        }
        match self.runtime:
            case "container":
                return ContainerReplace.model_validate(fields)
            case "service":
                return ServiceReplace.model_validate(fields)
            case "none":
                return None
