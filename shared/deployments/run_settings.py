"""Run settings of an application that a deployment and a rollback point keep; no secrets."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from shared.jobs.commands import (
    ContainerReplace,
    HealthProbe,
    Mounted,
    PublishedPort,
    Replace,
    ServiceReplace,
)

Runtime = Literal["container", "service", "none"]


class RunSettings(BaseModel):
    """An application's settings as they were when it was asked for; of ``none`` nothing is run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    runtime: Runtime = "container"
    name: str
    replicas: int = 1
    platform: str | None = None
    health_check: HealthProbe | None = None
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[Mounted, ...] = ()

    def command(
        self,
        application_id: str,
        deployment_id: str,
        reference: str,
        *,
        registry_id: str | None,
        made_by: str | None,
    ) -> Replace | None:
        """The runtime of an image; a login is sent along if the Engine pulls by itself."""
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
