"""An application as everybody sees it: of its secrets there are only names."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from api.applications.container import HealthCheck, Mounts, Ports
from api.applications.deploy_keys import show_key_fingerprint
from api.applications.fields import BuildType, SourceType
from api.applications.status import ApplicationStatus
from api.applications.variables import show_variables
from api.fields.shapes import Moment, Output, Warned, show_document
from shared.deployments.run_settings import Runtime
from shared.deployments.store import OnFailure
from shared.models import Application


class ApplicationOutput(Output):
    """``registryId`` is pulled from, ``buildRegistryId`` pushed to; it runs on ``serverIds``.

    ``applicationStatus`` is that of its newest deployment, ``serverId`` the first of its servers,
    both for clients of Dokploy; ``environmentId`` is the organization's one environment.
    """

    application_id: str
    name: str
    app_name: str
    description: str
    source_type: SourceType | None
    docker_image: str | None
    git_url: str | None = Field(alias="customGitUrl")
    git_branch: str | None = Field(alias="customGitBranch")
    git_commit: str | None = Field(alias="customGitCommit")
    git_build_path: str = Field(alias="customGitBuildPath")
    git_username: str | None = Field(alias="customGitUsername")
    has_git_token: bool = Field(alias="hasCustomGitToken")
    git_ssh_public_key: str | None = Field(alias="customGitSSHPublicKey")
    git_ssh_fingerprint: str | None = Field(alias="customGitSSHFingerprint")
    git_host_key: str | None = Field(alias="customGitHostKey")
    build_type: BuildType
    dockerfile: str
    docker_context_path: str
    docker_build_stage: str | None
    build_args: str
    build_secret_names: list[str]
    env_names: list[str]
    platform: str | None
    registry_id: str | None
    build_registry_id: str | None
    rollback_registry_id: str | None
    rollback_active: bool
    build_server_id: str | None
    server_id: str | None
    server_ids: list[str]
    health_check: HealthCheck | None
    ports: Ports
    mounts: Mounts
    replicas: int
    runtime: Runtime
    stop_signal: str | None
    stop_grace_seconds: int
    rollout_batch: int
    rollout_on_failure: OnFailure
    rollbacks_to_keep: int
    latest_wins: bool
    allowed_keys: list[str]
    last_version: int
    application_status: ApplicationStatus
    environment_id: str
    created_at: Moment
    organization_id: str

    @classmethod
    def of(
        cls,
        application: Application,
        server_ids: Sequence[str],
        status: ApplicationStatus = "idle",
    ) -> Self:
        return cls.model_validate(
            {
                **application.model_dump(),
                "has_git_token": application.git_token is not None,
                "git_ssh_fingerprint": show_key_fingerprint(application),
                "build_args": show_variables(application.build_args),
                "server_id": next(iter(server_ids), None),
                "server_ids": list(server_ids),
                "application_status": status,
                "environment_id": application.organization_id,
                "health_check": show_document(application.health_check),
                "ports": show_document(application.ports),
                "mounts": show_document(application.mounts),
            }
        )


class CreatedApplication(ApplicationOutput, Warned):
    """An application that was stored just now."""
