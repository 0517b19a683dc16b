"""The procedures of the API, for an event loop.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Literal, overload

from wharfinger import following, models, uploading
from wharfinger.caller import Caller
from wharfinger.calls import OMIT, Call, Omit
from wharfinger.following import Event, OnEvent
from wharfinger.groups import AsyncGroup


class AsyncApiKeyProcedures(AsyncGroup):
    """Procedures of `apiKey`."""

    async def create(
        self,
        name: str,
        *,
        role: Literal["admin", "member", "viewer"] | Omit = OMIT,
        procedures: list[str] | Omit = OMIT,
        networks: list[str] | Omit = OMIT,
        application_ids: list[str] | Omit = OMIT,
        expires_in_seconds: int | Omit | None = OMIT,
    ) -> models.CreatedApiKey:
        """Create an API key, which is shown only once.

        Needs an API key with the role `admin`.

        Args:
            name: Name.
            role: Role of the key.
            procedures: Procedures that the key may call; empty: all of its role.
            networks: Source networks, from which it may be used; empty: all.
            application_ids: Applications that the key is limited to; empty: all.
            expires_in_seconds: Seconds until the key expires.
        """
        return await self._call(
            Call[models.CreatedApiKey](
                "apiKey.create",
                models.CreatedApiKey,
                "POST",
                {
                    "name": name,
                    "role": role,
                    "procedures": procedures,
                    "networks": networks,
                    "applicationIds": application_ids,
                    "expiresInSeconds": expires_in_seconds,
                },
            )
        )

    async def all(self) -> list[models.ApiKey]:
        """List all API keys of the organization, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.ApiKey]]("apiKey.all", list[models.ApiKey], "GET", {})
        )

    async def remove(self, api_key_id: str) -> models.ApiKey:
        """Remove an API key. Requests with it are refused from now on.

        Needs an API key with the role `admin`.

        Args:
            api_key_id: Id of the API key.
        """
        return await self._call(
            Call[models.ApiKey]("apiKey.remove", models.ApiKey, "POST", {"apiKeyId": api_key_id})
        )


class AsyncApplicationProcedures(AsyncGroup):
    """Procedures of `application`."""

    async def create(
        self,
        name: str,
        *,
        description: str | Omit | None = OMIT,
        source_type: Literal["docker", "git", "drop"] | Omit | None = OMIT,
        platform: str | Omit | None = OMIT,
        registry_id: str | Omit | None = OMIT,
        build_registry_id: str | Omit | None = OMIT,
        rollback_registry_id: str | Omit | None = OMIT,
        rollback_active: bool | Omit = OMIT,
        build_server_id: str | Omit | None = OMIT,
        server_ids: list[str] | Omit = OMIT,
        health_check: models.HealthCheck | Omit | None = OMIT,
        ports: list[models.Port] | Omit = OMIT,
        mounts: list[models.Mount] | Omit = OMIT,
        replicas: int | Omit = OMIT,
        runtime: Literal["container", "service", "none"] | Omit = OMIT,
        stop_signal: str | Omit | None = OMIT,
        stop_grace_seconds: int | Omit = OMIT,
        rollout_batch: int | Omit = OMIT,
        rollout_on_failure: Literal["stop", "rollback"] | Omit = OMIT,
        rollbacks_to_keep: int | Omit = OMIT,
        latest_wins: bool | Omit = OMIT,
        allowed_keys: list[str] | Omit = OMIT,
        app_name: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        environment_id: str | Omit | None = OMIT,
        docker_image: str | Omit | None = OMIT,
        custom_git_url: str | Omit | None = OMIT,
        custom_git_branch: str | Omit | None = OMIT,
    ) -> models.CreatedApplication:
        """Create an application. Save its source next.

        Needs an API key with the role `admin`.

        Args:
            description: Description, any text.
            source_type: Whether it is built from a repository or deployed from a ready image.
            platform: Platform, for example `linux/amd64`.
            registry_id: Id of the registry.
            build_registry_id: Id of the registry that built images are pushed to.
            rollback_registry_id: Id of the registry that keeps images for rollbacks.
            rollback_active: True if images are kept for rollbacks.
            build_server_id: Id of the server that builds; null means any.
            server_ids: Ids of the servers.
            health_check: Health check of the containers; null means that of the image.
            ports: Published ports.
            mounts: Directories and volumes that are mounted.
            replicas: Number of containers of a service.
            runtime: How it runs: as one container a server, or as a Swarm service.
            stop_signal: The signal that stops the program; null for that of its image.
            stop_grace_seconds: Seconds that the program may take to stop, before it is killed.
            rollout_batch: Number of servers that are changed at once; 0 means all.
            rollout_on_failure: What happens to the other servers where one fails.
            rollbacks_to_keep: Number of rollback points that are kept.
            latest_wins: True if a newer build or deployment replaces one that waits.
            allowed_keys: Ids of the API keys that may build, deploy and cancel it; empty means all.
            name: Name.
            app_name: Name of the containers and services, and the last part of the image's name.
            server_id: Id of the server.
            environment_id: Id of the organization's one environment.
            docker_image: Ready image that is deployed.
            custom_git_url: URL of the git repository.
            custom_git_branch: Branch of the repository.
        """
        return await self._call(
            Call[models.CreatedApplication](
                "application.create",
                models.CreatedApplication,
                "POST",
                {
                    "description": description,
                    "sourceType": source_type,
                    "platform": platform,
                    "registryId": registry_id,
                    "buildRegistryId": build_registry_id,
                    "rollbackRegistryId": rollback_registry_id,
                    "rollbackActive": rollback_active,
                    "buildServerId": build_server_id,
                    "serverIds": server_ids,
                    "healthCheck": health_check,
                    "ports": ports,
                    "mounts": mounts,
                    "replicas": replicas,
                    "runtime": runtime,
                    "stopSignal": stop_signal,
                    "stopGraceSeconds": stop_grace_seconds,
                    "rolloutBatch": rollout_batch,
                    "rolloutOnFailure": rollout_on_failure,
                    "rollbacksToKeep": rollbacks_to_keep,
                    "latestWins": latest_wins,
                    "allowedKeys": allowed_keys,
                    "name": name,
                    "appName": app_name,
                    "serverId": server_id,
                    "environmentId": environment_id,
                    "dockerImage": docker_image,
                    "customGitUrl": custom_git_url,
                    "customGitBranch": custom_git_branch,
                },
            )
        )

    async def all(self) -> list[models.Application]:
        """List all applications of the organization, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Application]]("application.all", list[models.Application], "GET", {})
        )

    async def one(self, application_id: str) -> models.Application:
        """Return one application.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.Application](
                "application.one", models.Application, "GET", {"applicationId": application_id}
            )
        )

    async def update(
        self,
        application_id: str,
        *,
        docker_image: str | Omit | None = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        custom_git_url: str | Omit | None = OMIT,
        custom_git_branch: str | Omit | None = OMIT,
        custom_git_commit: str | Omit | None = OMIT,
        custom_git_build_path: str | Omit | None = OMIT,
        custom_git_username: str | Omit | None = OMIT,
        custom_git_token: str | Omit | None = OMIT,
        custom_git_ssh_key: str | Omit | None = OMIT,
        custom_git_host_key: str | Omit | None = OMIT,
        custom_git_ssh_key_id: str | Omit | None = OMIT,
        enable_submodules: bool | Omit | None = OMIT,
        env: str | Omit | None = OMIT,
        build_args: str | Omit | None = OMIT,
        build_secrets: str | Omit | None = OMIT,
        build_type: Literal["dockerfile"] | Omit = OMIT,
        dockerfile: str | Omit | None = OMIT,
        docker_context_path: str | Omit | None = OMIT,
        docker_build_stage: str | Omit | None = OMIT,
        description: str | Omit | None = OMIT,
        source_type: Literal["docker", "git", "drop"] | Omit | None = OMIT,
        platform: str | Omit | None = OMIT,
        registry_id: str | Omit | None = OMIT,
        build_registry_id: str | Omit | None = OMIT,
        rollback_registry_id: str | Omit | None = OMIT,
        rollback_active: bool | Omit = OMIT,
        build_server_id: str | Omit | None = OMIT,
        server_ids: list[str] | Omit = OMIT,
        health_check: models.HealthCheck | Omit | None = OMIT,
        ports: list[models.Port] | Omit = OMIT,
        mounts: list[models.Mount] | Omit = OMIT,
        replicas: int | Omit = OMIT,
        runtime: Literal["container", "service", "none"] | Omit = OMIT,
        stop_signal: str | Omit | None = OMIT,
        stop_grace_seconds: int | Omit = OMIT,
        rollout_batch: int | Omit = OMIT,
        rollout_on_failure: Literal["stop", "rollback"] | Omit = OMIT,
        rollbacks_to_keep: int | Omit = OMIT,
        latest_wins: bool | Omit = OMIT,
        allowed_keys: list[str] | Omit = OMIT,
        name: str | Omit = OMIT,
        app_name: str | Omit = OMIT,
        environment_id: str | Omit | None = OMIT,
        health_check_swarm: models.SwarmHealthCheckInput | Omit | None = OMIT,
        stop_grace_period_swarm: float | Omit | None = OMIT,
    ) -> models.ApplicationChange:
        """Change an application. Its next build and its next deployment use the new settings.

        Needs an API key with the role `admin`.

        Args:
            docker_image: Ready image that is deployed.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            custom_git_url: URL of the git repository.
            custom_git_branch: Branch of the repository.
            custom_git_commit: Commit that is built, whatever the branch.
            custom_git_build_path: Directory of the repository that is built.
            custom_git_username: Username that belongs to the token.
            custom_git_token: Token for a private repository; null removes it.
            custom_git_ssh_key: Private deploy key; no answer contains it.
            custom_git_host_key: Pinned SSH keys or fingerprints of the git host.
            custom_git_ssh_key_id: Not supported: give `customGitSSHKey`.
            enable_submodules: Has no effect: submodules are always fetched.
            env: Environment of the containers, one `NAME=value` a line.
            build_args: Build arguments, one `NAME=value` a line.
            build_secrets: Secrets that the Dockerfile mounts, one `NAME=value` a line.
            build_type: How it is built: always `dockerfile`.
            dockerfile: Path of the Dockerfile, relative to the build path.
            docker_context_path: Directory with the build context, relative to the build path.
            docker_build_stage: Stage of the Dockerfile that is built; null means the last one.
            description: Description, any text.
            source_type: Whether it is built from a repository or deployed from a ready image.
            platform: Platform, for example `linux/amd64`.
            registry_id: Id of the registry.
            build_registry_id: Id of the registry that built images are pushed to.
            rollback_registry_id: Id of the registry that keeps images for rollbacks.
            rollback_active: True if images are kept for rollbacks.
            build_server_id: Id of the server that builds; null means any.
            server_ids: Ids of the servers.
            health_check: Health check of the containers; null means that of the image.
            ports: Published ports.
            mounts: Directories and volumes that are mounted.
            replicas: Number of containers of a service.
            runtime: How it runs: as one container a server, or as a Swarm service.
            stop_signal: The signal that stops the program; null for that of its image.
            stop_grace_seconds: Seconds that the program may take to stop, before it is killed.
            rollout_batch: Number of servers that are changed at once; 0 means all.
            rollout_on_failure: What happens to the other servers where one fails.
            rollbacks_to_keep: Number of rollback points that are kept.
            latest_wins: True if a newer build or deployment replaces one that waits.
            allowed_keys: Ids of the API keys that may build, deploy and cancel it; empty means all.
            application_id: Id of the application.
            name: Name.
            app_name: Name of the containers and services, and the last part of the image's name.
            environment_id: Id of the organization's one environment.
            health_check_swarm: Health check in the form of Docker Swarm.
            stop_grace_period_swarm: `stopGraceSeconds` in nanoseconds, as Dokploy's clients send
                it.
        """
        return await self._call(
            Call[models.ApplicationChange](
                "application.update",
                models.ApplicationChange,
                "POST",
                {
                    "dockerImage": docker_image,
                    "username": username,
                    "password": password,
                    "registryUrl": registry_url,
                    "customGitUrl": custom_git_url,
                    "customGitBranch": custom_git_branch,
                    "customGitCommit": custom_git_commit,
                    "customGitBuildPath": custom_git_build_path,
                    "customGitUsername": custom_git_username,
                    "customGitToken": custom_git_token,
                    "customGitSSHKey": custom_git_ssh_key,
                    "customGitHostKey": custom_git_host_key,
                    "customGitSSHKeyId": custom_git_ssh_key_id,
                    "enableSubmodules": enable_submodules,
                    "env": env,
                    "buildArgs": build_args,
                    "buildSecrets": build_secrets,
                    "buildType": build_type,
                    "dockerfile": dockerfile,
                    "dockerContextPath": docker_context_path,
                    "dockerBuildStage": docker_build_stage,
                    "description": description,
                    "sourceType": source_type,
                    "platform": platform,
                    "registryId": registry_id,
                    "buildRegistryId": build_registry_id,
                    "rollbackRegistryId": rollback_registry_id,
                    "rollbackActive": rollback_active,
                    "buildServerId": build_server_id,
                    "serverIds": server_ids,
                    "healthCheck": health_check,
                    "ports": ports,
                    "mounts": mounts,
                    "replicas": replicas,
                    "runtime": runtime,
                    "stopSignal": stop_signal,
                    "stopGraceSeconds": stop_grace_seconds,
                    "rolloutBatch": rollout_batch,
                    "rolloutOnFailure": rollout_on_failure,
                    "rollbacksToKeep": rollbacks_to_keep,
                    "latestWins": latest_wins,
                    "allowedKeys": allowed_keys,
                    "applicationId": application_id,
                    "name": name,
                    "appName": app_name,
                    "environmentId": environment_id,
                    "healthCheckSwarm": health_check_swarm,
                    "stopGracePeriodSwarm": stop_grace_period_swarm,
                },
            )
        )

    async def remove(self, application_id: str) -> models.Application:
        """Remove an application and its secrets; return what it was. Its containers keep running.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.Application](
                "application.remove", models.Application, "POST", {"applicationId": application_id}
            )
        )

    async def save_git_provider(
        self,
        *,
        custom_git_url: str | None,
        application_id: str,
        custom_git_branch: str | Omit | None = OMIT,
        custom_git_commit: str | Omit | None = OMIT,
        custom_git_build_path: str | Omit | None = OMIT,
        custom_git_username: str | Omit | None = OMIT,
        custom_git_token: str | Omit | None = OMIT,
        custom_git_ssh_key: str | Omit | None = OMIT,
        custom_git_host_key: str | Omit | None = OMIT,
        custom_git_ssh_key_id: str | Omit | None = OMIT,
        enable_submodules: bool | Omit | None = OMIT,
    ) -> bool:
        """Build an application from a git repository; of the same one, only given fields change.

        Needs an API key with the role `admin`.

        Args:
            custom_git_url: URL of the git repository.
            custom_git_branch: Branch of the repository.
            custom_git_commit: Commit that is built, whatever the branch.
            custom_git_build_path: Directory of the repository that is built.
            custom_git_username: Username that belongs to the token.
            custom_git_token: Token for a private repository; null removes it.
            custom_git_ssh_key: Private deploy key; no answer contains it.
            custom_git_host_key: Pinned SSH keys or fingerprints of the git host.
            custom_git_ssh_key_id: Not supported: give `customGitSSHKey`.
            enable_submodules: Has no effect: submodules are always fetched.
            application_id: Id of the application.
        """
        return await self._call(
            Call[bool](
                "application.saveGitProvider",
                bool,
                "POST",
                {
                    "customGitUrl": custom_git_url,
                    "customGitBranch": custom_git_branch,
                    "customGitCommit": custom_git_commit,
                    "customGitBuildPath": custom_git_build_path,
                    "customGitUsername": custom_git_username,
                    "customGitToken": custom_git_token,
                    "customGitSSHKey": custom_git_ssh_key,
                    "customGitHostKey": custom_git_host_key,
                    "customGitSSHKeyId": custom_git_ssh_key_id,
                    "enableSubmodules": enable_submodules,
                    "applicationId": application_id,
                },
            )
        )

    async def save_docker_provider(
        self,
        *,
        docker_image: str | None,
        application_id: str,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        registry_id: str | Omit | None = OMIT,
    ) -> bool:
        """Run an application from a ready image. Nothing is built.

        Needs an API key with the role `admin`.

        Args:
            docker_image: Ready image that is deployed.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            application_id: Id of the application.
            registry_id: Id of the registry.
        """
        return await self._call(
            Call[bool](
                "application.saveDockerProvider",
                bool,
                "POST",
                {
                    "dockerImage": docker_image,
                    "username": username,
                    "password": password,
                    "registryUrl": registry_url,
                    "applicationId": application_id,
                    "registryId": registry_id,
                },
            )
        )

    async def generate_deploy_key(self, application_id: str) -> models.DeployKey:
        """Make a deploy key for an application's repository; it takes the place of a former one.

        The private key is sealed and never shown.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.DeployKey](
                "application.generateDeployKey",
                models.DeployKey,
                "POST",
                {"applicationId": application_id},
            )
        )

    async def save_build_type(
        self,
        *,
        build_type: Literal["dockerfile"],
        application_id: str,
        dockerfile: str | Omit | None = OMIT,
        docker_context_path: str | Omit | None = OMIT,
        docker_build_stage: str | Omit | None = OMIT,
    ) -> bool:
        """Choose the Dockerfile that builds an application, its context and its stage.

        Needs an API key with the role `admin`.

        Args:
            build_type: How it is built: always `dockerfile`.
            dockerfile: Path of the Dockerfile, relative to the build path.
            docker_context_path: Directory with the build context, relative to the build path.
            docker_build_stage: Stage of the Dockerfile that is built; null means the last one.
            application_id: Id of the application.
        """
        return await self._call(
            Call[bool](
                "application.saveBuildType",
                bool,
                "POST",
                {
                    "buildType": build_type,
                    "dockerfile": dockerfile,
                    "dockerContextPath": docker_context_path,
                    "dockerBuildStage": docker_build_stage,
                    "applicationId": application_id,
                },
            )
        )

    async def save_environment(
        self,
        application_id: str,
        *,
        env: str | Omit | None = OMIT,
        build_args: str | Omit | None = OMIT,
        build_secrets: str | Omit | None = OMIT,
    ) -> bool:
        """Store the variables of an application's containers and of its builds.

        Needs an API key with the role `admin`.

        Args:
            env: Environment of the containers, one `NAME=value` a line.
            build_args: Build arguments, one `NAME=value` a line.
            build_secrets: Secrets that the Dockerfile mounts, one `NAME=value` a line.
            application_id: Id of the application.
        """
        return await self._call(
            Call[bool](
                "application.saveEnvironment",
                bool,
                "POST",
                {
                    "env": env,
                    "buildArgs": build_args,
                    "buildSecrets": build_secrets,
                    "applicationId": application_id,
                },
            )
        )

    async def build(
        self,
        application_id: str,
        *,
        context_id: str | Omit | None = OMIT,
        tag: str | Omit | None = OMIT,
        branch: str | Omit | None = OMIT,
        commit: str | Omit | None = OMIT,
        allow_missing: bool | Omit = OMIT,
        title: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedBuild:
        """Build an application's image, push it to its build registry, keep it for a rollback.

        The answer does not wait for the build, and nothing is deployed. Builds of an
        application run one at a time. A newer build supersedes a waiting one, unless
        `latestWins` is off.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
            context_id: Id of the uploaded build context.
            tag: Tag of the image.
            branch: Branch to build from; by default the application's.
            commit: Commit to build: all 40 or 64 hexadecimal characters.
            allow_missing: Build without submodules and LFS files that cannot be fetched.
            title: Title, any text.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedBuild](
                "application.build",
                models.AcceptedBuild,
                "POST",
                {
                    "applicationId": application_id,
                    "contextId": context_id,
                    "tag": tag,
                    "branch": branch,
                    "commit": commit,
                    "allowMissing": allow_missing,
                    "title": title,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def deploy(
        self,
        application_id: str,
        *,
        context_id: str | Omit | None = OMIT,
        tag: str | Omit | None = OMIT,
        branch: str | Omit | None = OMIT,
        commit: str | Omit | None = OMIT,
        allow_missing: bool | Omit = OMIT,
        title: str | Omit | None = OMIT,
        build_id: str | Omit | None = OMIT,
        description: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedDeployment:
        """Build an application, and run the image on all of its servers in place of what runs
        there.

        The answer does not wait for the deployment. Each server pulls the image by its digest,
        starts it, waits until it is healthy, and switches; after a failure the previous
        container keeps running. Each server carries out one deployment of an application at a
        time. A deployment waits at most a day for a server that is offline.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
            context_id: Id of the uploaded build context.
            tag: Tag of the image.
            branch: Branch to build from; by default the application's.
            commit: Commit to build: all 40 or 64 hexadecimal characters.
            allow_missing: Build without submodules and LFS files that cannot be fetched.
            title: Title, any text.
            build_id: Id of the build.
            description: Description, any text.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedDeployment](
                "application.deploy",
                models.AcceptedDeployment,
                "POST",
                {
                    "applicationId": application_id,
                    "contextId": context_id,
                    "tag": tag,
                    "branch": branch,
                    "commit": commit,
                    "allowMissing": allow_missing,
                    "title": title,
                    "buildId": build_id,
                    "description": description,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def redeploy(
        self,
        application_id: str,
        *,
        title: str | Omit | None = OMIT,
        description: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedDeployment:
        """Deploy the newest successful build again, with the current settings and variables.

        Needs an API key with the role `member` or `admin`.

        Args:
            title: Title, any text.
            description: Description, any text.
            application_id: Id of the application.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedDeployment](
                "application.redeploy",
                models.AcceptedDeployment,
                "POST",
                {"title": title, "description": description, "applicationId": application_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def stop(
        self, application_id: str, *, idempotency_key: str | None = None
    ) -> models.ControlledApplication:
        """Stop what runs of an application on its servers, as `docker stop`.

        It stays stopped, also if its server restarts, until it is started, reloaded or
        deployed. The answer waits half a minute for the servers; a job that takes longer
        continues. Requests for one application take effect in their order: the job waits for
        deployments that were requested before. What is stopped already stays so.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.ControlledApplication](
                "application.stop",
                models.ControlledApplication,
                "POST",
                {"applicationId": application_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def start(
        self, application_id: str, *, idempotency_key: str | None = None
    ) -> models.ControlledApplication:
        """Start what was stopped of an application, and wait until it is healthy.

        It is the same container, or the same service with as many replicas as before. If it
        does not become healthy it is stopped again. What runs already stays as it is. Waits and
        order are those of `application.stop`.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.ControlledApplication](
                "application.start",
                models.ControlledApplication,
                "POST",
                {"applicationId": application_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def reload(
        self, application_id: str, *, idempotency_key: str | None = None
    ) -> models.ControlledApplication:
        """Start what runs of an application anew, with the image and settings that it has.

        A container is restarted; the tasks of a service are replaced in turn. What is stopped
        is started. Changed settings and variables take effect with `application.redeploy`.
        Waits and order are those of `application.stop`.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.ControlledApplication](
                "application.reload",
                models.ControlledApplication,
                "POST",
                {"applicationId": application_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    @overload
    async def read_logs(
        self,
        application_id: str,
        *,
        tail: int | Omit = OMIT,
        since: str | Omit = OMIT,
        search: str | Omit = OMIT,
        respond_async: Literal[False] = False,
    ) -> str: ...

    @overload
    async def read_logs(
        self,
        application_id: str,
        *,
        tail: int | Omit = OMIT,
        since: str | Omit = OMIT,
        search: str | Omit = OMIT,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def read_logs(
        self,
        application_id: str,
        *,
        tail: int | Omit = OMIT,
        since: str | Omit = OMIT,
        search: str | Omit = OMIT,
        respond_async: bool,
    ) -> str | models.AcceptedJob: ...

    async def read_logs(
        self,
        application_id: str,
        *,
        tail: int | Omit = OMIT,
        since: str | Omit = OMIT,
        search: str | Omit = OMIT,
        respond_async: bool = False,
    ) -> str | models.AcceptedJob:
        """Return the newest lines that what runs of an application has written.

        Each line begins with a time and, if there are several servers, with the server's name.
        The workers read them from their Engines, so this waits for a short job on each server;
        one that is offline is an error. Values of the application's variables are masked. A
        server answers 128 KiB at most.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
            tail: Largest number of lines.
            since: Age of the oldest line: `all`, or for example `90s`, `10m`, `2h` or `7d`.
            search: Only lines that contain this.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[str | models.AcceptedJob](
                "application.readLogs",
                models.AcceptedJob if respond_async else str,
                "GET",
                {"applicationId": application_id, "tail": tail, "since": since, "search": search},
                respond_async=respond_async,
            )
        )

    async def cancel_deployment(self, application_id: str) -> list[models.Deployment]:
        """Cancel all deployments of an application that have not ended; return them.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "application.cancelDeployment",
                list[models.Deployment],
                "POST",
                {"applicationId": application_id},
            )
        )

    async def search(
        self,
        *,
        q: str | Omit = OMIT,
        name: str | Omit = OMIT,
        app_name: str | Omit = OMIT,
        description: str | Omit = OMIT,
        docker_image: str | Omit = OMIT,
        repository: str | Omit = OMIT,
        owner: str | Omit = OMIT,
        project_id: str | Omit | None = OMIT,
        environment_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        offset: int | Omit = OMIT,
    ) -> models.FoundApplications:
        """Find applications by parts of their fields, the oldest first.

        Needs an API key of any role.

        Args:
            q: Part of any of these fields.
            name: Part of the name; of a package the whole name.
            app_name: Part of the `appName`.
            description: Part of the description.
            docker_image: Part of the image.
            repository: Part of the git URL; of images the repository's path.
            owner: Part of the git URL.
            project_id: Id of the project.
            environment_id: Id of the environment.
            limit: Largest number of items in the answer.
            offset: Number of items to leave out.
        """
        return await self._call(
            Call[models.FoundApplications](
                "application.search",
                models.FoundApplications,
                "GET",
                {
                    "q": q,
                    "name": name,
                    "appName": app_name,
                    "description": description,
                    "dockerImage": docker_image,
                    "repository": repository,
                    "owner": owner,
                    "projectId": project_id,
                    "environmentId": environment_id,
                    "limit": limit,
                    "offset": offset,
                },
            )
        )

    async def delete(self, application_id: str) -> models.Application:
        """Remove an application and its secrets; return what it was. Its containers keep running.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.Application](
                "application.delete", models.Application, "POST", {"applicationId": application_id}
            )
        )

    async def kill_build(self, application_id: str) -> list[models.Deployment]:
        """Cancel all deployments of an application that have not ended; return them.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "application.killBuild",
                list[models.Deployment],
                "POST",
                {"applicationId": application_id},
            )
        )

    async def upload_context(
        self, application_id: str, source: bytes | Path
    ) -> models.BuildContext:
        """Upload the sources of an application, from which ``application.build`` builds.

        ``source`` is a tar, plain or compressed, as a file or as bytes; or a directory, which is
        packed with all that it holds.

        Raises:
            ApiError: the API refused it.
        """
        return await uploading.upload_context(self._caller, application_id, source)


class AsyncAuditLogProcedures(AsyncGroup):
    """Procedures of `auditLog`."""

    async def all(
        self,
        *,
        action: str | Omit | None = OMIT,
        object_id: str | Omit | None = OMIT,
        actor_id: str | Omit | None = OMIT,
        cursor: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        offset: int | Omit = OMIT,
    ) -> models.AuditLogPage:
        """List what was done in the organization, the newest first.

        Needs an API key with the role `admin`.

        Args:
            action: What was done: a procedure's name, or its router's.
            object_id: Id of what was changed.
            actor_id: Id of the API key or the member who did it.
            cursor: `nextCursor` of the page before.
            limit: Largest number of items in the answer.
            offset: Number of items to leave out.
        """
        return await self._call(
            Call[models.AuditLogPage](
                "auditLog.all",
                models.AuditLogPage,
                "GET",
                {
                    "action": action,
                    "objectId": object_id,
                    "actorId": actor_id,
                    "cursor": cursor,
                    "limit": limit,
                    "offset": offset,
                },
            )
        )

    async def export(
        self, *, after_sequence: int | Omit = OMIT, limit: int | Omit = OMIT
    ) -> models.AuditExport:
        """Return a part of the organization's audit log, with what verifies it.

        Needs an API key with the role `admin`.

        Args:
            after_sequence: Sequence number of the entry after which to continue.
            limit: Largest number of items in the answer.
        """
        return await self._call(
            Call[models.AuditExport](
                "auditLog.export",
                models.AuditExport,
                "GET",
                {"afterSequence": after_sequence, "limit": limit},
            )
        )


class AsyncBuildProcedures(AsyncGroup):
    """Procedures of `build`."""

    async def one(self, build_id: str) -> models.Build:
        """Return one build.

        Needs an API key of any role.

        Args:
            build_id: Id of the build.
        """
        return await self._call(
            Call[models.Build]("build.one", models.Build, "GET", {"buildId": build_id})
        )

    async def all(self, application_id: str, *, limit: int | Omit = OMIT) -> list[models.Build]:
        """List an application's builds, the newest first.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
            limit: Largest number of items in the answer.
        """
        return await self._call(
            Call[list[models.Build]](
                "build.all",
                list[models.Build],
                "GET",
                {"applicationId": application_id, "limit": limit},
            )
        )

    async def cancel(self, build_id: str) -> models.Build:
        """Cancel a build: the step that runs, and the steps after it.

        Needs an API key with the role `member` or `admin`.

        Args:
            build_id: Id of the build.
        """
        return await self._call(
            Call[models.Build]("build.cancel", models.Build, "POST", {"buildId": build_id})
        )

    async def wait(
        self,
        build_id: str,
        *,
        timeout: timedelta | None = None,
        on_event: OnEvent | None = None,
        check: bool = True,
    ) -> models.Build:
        """Wait until a build has ended, and return it; ``on_event`` gets the events of its jobs.

        Raises:
            ApiError: as for a job.
        """
        return await following.wait_for_build(
            self._caller, build_id, timeout=timeout, on_event=on_event, check=check
        )


class AsyncComposeProcedures(AsyncGroup):
    """Procedures of `compose`."""

    async def pull(
        self,
        compose_file: str,
        *,
        server_id: str | Omit | None = OMIT,
        registry_ids: list[str] | Omit | None = OMIT,
        env_file: str | Omit | None = OMIT,
        profiles: list[str] | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedJob:
        """Pull the images of a compose file to a server and pin them by digest.

        `job.one` returns the pinned file as `result.composeFile`, with the digest of each
        service's image; everything else is unchanged, byte for byte. Services without an image
        do not change. An image is pulled with the login of the registry at its host that may be
        used on this server; of several registries, the longest matching prefix wins, and of
        equal ones the oldest; without a registry the pull is anonymous.

        Services are treated as `docker compose pull` treats them. Without an active profile, or
        with the pull policy `never` or `build`, they are skipped; so is an image that cannot be
        pulled but built. `result.skipped` names them with the reason. Files of `include` and of
        `extends` are not read; `result.warnings` names them.

        Variables get their values from `envFile`, or their default, as in `${TAG:-1.4}`. The
        file is stored with its job, and so are the variables that its images use, but no
        others.

        Needs an API key with the role `member` or `admin`.

        Args:
            compose_file: Text of the compose file.
            server_id: Id of the server.
            registry_ids: Ids of the registries; by default all.
            env_file: Text of the `.env` file with the variables.
            profiles: Active profiles of the compose file.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedJob](
                "compose.pull",
                models.AcceptedJob,
                "POST",
                {
                    "composeFile": compose_file,
                    "serverId": server_id,
                    "registryIds": registry_ids,
                    "envFile": env_file,
                    "profiles": profiles,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )


class AsyncDeployHookProcedures(AsyncGroup):
    """Procedures of `deployHook`."""

    async def create(
        self,
        application_id: str,
        *,
        tag_filter: str | Omit = OMIT,
        branch_filter: str | Omit | None = OMIT,
        path_filters: list[str] | Omit = OMIT,
        require_signature: bool | Omit = OMIT,
    ) -> models.CreatedDeployHook:
        """Create a URL that deploys an application when its image or its source is pushed.

        A pushed tag of a ready image is deployed; a pushed commit of a git repository is built
        first. Requests must be signed as in Standard Webhooks or as by GitHub or Gitea, or
        contain the secret as `Authorization` or `X-Gitlab-Token`.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
            tag_filter: Glob of the tags that deploy; `*` means any.
            branch_filter: Glob of the branches that deploy; null means the application's branch.
            path_filters: Globs of the changed files that deploy; empty means all.
            require_signature: True if each request has to be signed.
        """
        return await self._call(
            Call[models.CreatedDeployHook](
                "deployHook.create",
                models.CreatedDeployHook,
                "POST",
                {
                    "applicationId": application_id,
                    "tagFilter": tag_filter,
                    "branchFilter": branch_filter,
                    "pathFilters": path_filters,
                    "requireSignature": require_signature,
                },
            )
        )

    async def all(self, application_id: str) -> list[models.DeployHook]:
        """List all deploy hooks of an application, the oldest first.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[list[models.DeployHook]](
                "deployHook.all", list[models.DeployHook], "GET", {"applicationId": application_id}
            )
        )

    async def remove(self, hook_id: str) -> models.DeployHook:
        """Remove a deploy hook. Its URL stops working.

        Needs an API key with the role `admin`.

        Args:
            hook_id: Id of the deploy hook.
        """
        return await self._call(
            Call[models.DeployHook](
                "deployHook.remove", models.DeployHook, "POST", {"hookId": hook_id}
            )
        )


class AsyncDeploymentProcedures(AsyncGroup):
    """Procedures of `deployment`."""

    async def one(self, deployment_id: str) -> models.Deployment:
        """Return one deployment.

        Needs an API key of any role.

        Args:
            deployment_id: Id of the deployment.
        """
        return await self._call(
            Call[models.Deployment](
                "deployment.one", models.Deployment, "GET", {"deploymentId": deployment_id}
            )
        )

    async def all(
        self, application_id: str, *, limit: int | Omit = OMIT
    ) -> list[models.Deployment]:
        """List an application's deployments, the newest first.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
            limit: Largest number of items in the answer.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "deployment.all",
                list[models.Deployment],
                "GET",
                {"applicationId": application_id, "limit": limit},
            )
        )

    async def all_by_server(
        self, server_id: str, *, limit: int | Omit = OMIT
    ) -> list[models.Deployment]:
        """List a server's deployments, of all applications, the newest first.

        Needs an API key of any role.

        Args:
            server_id: Id of the server.
            limit: Largest number of items in the answer.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "deployment.allByServer",
                list[models.Deployment],
                "GET",
                {"serverId": server_id, "limit": limit},
            )
        )

    async def cancel(self, deployment_id: str) -> models.Deployment:
        """Cancel a deployment on all servers where it has not ended.

        The build that is made for it is cancelled with it.

        Needs an API key with the role `member` or `admin`.

        Args:
            deployment_id: Id of the deployment.
        """
        return await self._call(
            Call[models.Deployment](
                "deployment.cancel", models.Deployment, "POST", {"deploymentId": deployment_id}
            )
        )

    async def read_logs(self, deployment_id: str, *, tail: int | Omit = OMIT) -> str:
        """Return the newest lines of a deployment's log, in order of time.

        It holds the output of its jobs on all servers, their start and end, and why they
        failed. A build that was requested with the deployment is included. Each line begins
        with a time and, if there are several servers, with the server's name.

        Needs an API key of any role.

        Args:
            deployment_id: Id of the deployment.
            tail: Largest number of lines.
        """
        return await self._call(
            Call[str](
                "deployment.readLogs", str, "GET", {"deploymentId": deployment_id, "tail": tail}
            )
        )

    async def all_by_type(
        self,
        *,
        id: str,
        type: Literal[
            "application",
            "server",
            "compose",
            "schedule",
            "previewDeployment",
            "backup",
            "volumeBackup",
        ],
    ) -> list[models.Deployment]:
        """List the deployments of an application or of a server, the newest first.

        Of other types there are none.

        Needs an API key of any role.

        Args:
            id: Id of the application or the server.
            type: What was deployed.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "deployment.allByType", list[models.Deployment], "GET", {"id": id, "type": type}
            )
        )

    async def all_centralized(self) -> list[models.Deployment]:
        """List the newest deployments of all applications, the newest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Deployment]](
                "deployment.allCentralized", list[models.Deployment], "GET", {}
            )
        )

    async def queue_list(self) -> list[models.QueuedDeployment]:
        """List the deployments that wait or run, the newest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.QueuedDeployment]](
                "deployment.queueList", list[models.QueuedDeployment], "GET", {}
            )
        )

    async def kill_process(self, deployment_id: str) -> models.Deployment:
        """Cancel a deployment on all servers where it has not ended.

        The build that is made for it is cancelled with it.

        Needs an API key with the role `member` or `admin`.

        Args:
            deployment_id: Id of the deployment.
        """
        return await self._call(
            Call[models.Deployment](
                "deployment.killProcess", models.Deployment, "POST", {"deploymentId": deployment_id}
            )
        )

    async def wait(
        self,
        deployment_id: str,
        *,
        timeout: timedelta | None = None,
        on_event: OnEvent | None = None,
        check: bool = True,
    ) -> models.Deployment:
        """Wait until a deployment has ended, and return it.

        ``on_event`` gets the events of its jobs: first of its own build, if it has one, then of
        each server.

        Raises:
            ApiError: as for a job.
        """
        return await following.wait_for_deployment(
            self._caller, deployment_id, timeout=timeout, on_event=on_event, check=check
        )


class AsyncEnvironmentProcedures(AsyncGroup):
    """Procedures of `environment`."""

    async def one(self, environment_id: str) -> models.Environment:
        """Return the environment, with all applications.

        Needs an API key of any role.

        Args:
            environment_id: Id of the environment.
        """
        return await self._call(
            Call[models.Environment](
                "environment.one", models.Environment, "GET", {"environmentId": environment_id}
            )
        )

    async def by_project_id(self, project_id: str) -> list[models.Environment]:
        """List the project's one environment, with all applications.

        Needs an API key of any role.

        Args:
            project_id: Id of the project.
        """
        return await self._call(
            Call[list[models.Environment]](
                "environment.byProjectId",
                list[models.Environment],
                "GET",
                {"projectId": project_id},
            )
        )


class AsyncImageProcedures(AsyncGroup):
    """Procedures of `image`."""

    async def pull(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedPull:
        """Pull an image to a server.

        Without `registryId`, the registry at the image's host with the longest image prefix
        that fits is chosen, if its login may be used on this server; of equal ones, the oldest.
        If none fits, and with `registryId: null`, the pull is anonymous.

        The same image is pulled to a server once: a repeated request with the same registry
        returns the existing job and `joined: true`. A pull by digest is shared until it has
        ended. A pull by tag is shared until it has begun, because the tag may move; a later
        request gets a new job, which waits for the first. Cancelling a shared job ends it for
        all callers.

        Needs an API key with the role `member` or `admin`.

        Args:
            image: Name of the image.
            registry_id: Id of the registry.
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedPull](
                "image.pull",
                models.AcceptedPull,
                "POST",
                {"image": image, "registryId": registry_id, "serverId": server_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def push(
        self,
        *,
        image: str,
        registry_id: str,
        server_id: str | Omit | None = OMIT,
        name: str | Omit | None = OMIT,
        tag: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedJob:
        """Push an image from a server to a registry, below the registry's prefix.

        Needs an API key with the role `member` or `admin`.

        Args:
            image: Name of the image.
            registry_id: Id of the registry.
            server_id: Id of the server.
            name: Name.
            tag: Tag of the image.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedJob](
                "image.push",
                models.AcceptedJob,
                "POST",
                {
                    "image": image,
                    "registryId": registry_id,
                    "serverId": server_id,
                    "name": name,
                    "tag": tag,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def copy(
        self,
        *,
        image: str,
        registry_id: str,
        source_registry_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        name: str | Omit | None = OMIT,
        tag: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedJob:
        """Copy an image to another registry unchanged: all platforms, byte for byte.

        The server transfers the bytes, without its Engine. Blobs that the target registry
        already has are not sent; within one registry none are. Without `sourceRegistryId`, the
        login to read with is chosen as by `image.pull`.

        Needs an API key with the role `member` or `admin`.

        Args:
            image: Name of the image.
            registry_id: Id of the registry.
            source_registry_id: Id of the registry that the image is read from; null means
                anonymously.
            server_id: Id of the server.
            name: Name.
            tag: Tag of the image.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedJob](
                "image.copy",
                models.AcceptedJob,
                "POST",
                {
                    "image": image,
                    "registryId": registry_id,
                    "sourceRegistryId": source_registry_id,
                    "serverId": server_id,
                    "name": name,
                    "tag": tag,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    @overload
    async def tag(
        self,
        *,
        source: str,
        target: str,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> models.Image: ...

    @overload
    async def tag(
        self,
        *,
        source: str,
        target: str,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def tag(
        self,
        *,
        source: str,
        target: str,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool,
    ) -> models.Image | models.AcceptedJob: ...

    async def tag(
        self,
        *,
        source: str,
        target: str,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> models.Image | models.AcceptedJob:
        """Give an image on a server another name.

        Needs an API key with the role `member` or `admin`.

        Args:
            source: Name of the image on the server, or its id.
            target: New name of the image.
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.Image | models.AcceptedJob](
                "image.tag",
                models.AcceptedJob if respond_async else models.Image,
                "POST",
                {"source": source, "target": target, "serverId": server_id},
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    @overload
    async def inspect(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: Literal[False] = False,
    ) -> models.InspectedImage: ...

    @overload
    async def inspect(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def inspect(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: bool,
    ) -> models.InspectedImage | models.AcceptedJob: ...

    async def inspect(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: bool = False,
    ) -> models.InspectedImage | models.AcceptedJob:
        """Read an image at its registry: digest, platforms, sizes, signatures, and what runs it.

        A server asks the registry, so this waits for a quick job. Nothing is transferred but
        manifests, each of which a registry may count as a pull. Without `registryId`, the login
        is chosen as by `image.pull`; with `applicationId` it is one of the application's
        registries, as for its deployments. Signatures are found by the tags of cosign and by
        the referrers of OCI 1.1.

        Needs an API key of any role.

        Args:
            image: Name of the image, with the host of its registry.
            registry_id: Id of the registry.
            application_id: Id of the application.
            server_id: Id of the server.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.InspectedImage | models.AcceptedJob](
                "image.inspect",
                models.AcceptedJob if respond_async else models.InspectedImage,
                "GET",
                {
                    "image": image,
                    "registryId": registry_id,
                    "applicationId": application_id,
                    "serverId": server_id,
                },
                respond_async=respond_async,
            )
        )

    @overload
    async def tags(
        self,
        *,
        registry_id: str,
        repository: str,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: Literal[False] = False,
    ) -> models.TagList: ...

    @overload
    async def tags(
        self,
        *,
        registry_id: str,
        repository: str,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def tags(
        self,
        *,
        registry_id: str,
        repository: str,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: bool,
    ) -> models.TagList | models.AcceptedJob: ...

    async def tags(
        self,
        *,
        registry_id: str,
        repository: str,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: bool = False,
    ) -> models.TagList | models.AcceptedJob:
        """List the tags of a repository, in the registry's order.

        A server asks the registry, so this waits for a quick job. A page has about `limit`
        tags: as many whole pages as the registry needs for them.

        Needs an API key of any role.

        Args:
            registry_id: Id of the registry.
            repository: Part of the git URL; of images the repository's path.
            server_id: Id of the server.
            limit: Largest number of items in the answer.
            after: `next` of the page before.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.TagList | models.AcceptedJob](
                "image.tags",
                models.AcceptedJob if respond_async else models.TagList,
                "GET",
                {
                    "registryId": registry_id,
                    "repository": repository,
                    "serverId": server_id,
                    "limit": limit,
                    "after": after,
                },
                respond_async=respond_async,
            )
        )

    @overload
    async def repositories(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: Literal[False] = False,
    ) -> models.RepositoryList: ...

    @overload
    async def repositories(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def repositories(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: bool,
    ) -> models.RepositoryList | models.AcceptedJob: ...

    async def repositories(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        limit: int | Omit = OMIT,
        after: str | Omit = OMIT,
        respond_async: bool = False,
    ) -> models.RepositoryList | models.AcceptedJob:
        """List the repositories of a registry, at its image prefix or below.

        A server asks the registry, so this waits for a quick job. Docker Hub, ghcr.io and
        others list none, or not to every login: the answer then has those that applications and
        recent jobs name.

        Needs an API key of any role.

        Args:
            registry_id: Id of the registry.
            server_id: Id of the server.
            limit: Largest number of items in the answer.
            after: `next` of the page before.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.RepositoryList | models.AcceptedJob](
                "image.repositories",
                models.AcceptedJob if respond_async else models.RepositoryList,
                "GET",
                {"registryId": registry_id, "serverId": server_id, "limit": limit, "after": after},
                respond_async=respond_async,
            )
        )


class AsyncJobProcedures(AsyncGroup):
    """Procedures of `job`."""

    async def all(
        self,
        *,
        limit: int | Omit = OMIT,
        cursor: str | Omit | None = OMIT,
        state: Literal[
            "queued", "dispatched", "running", "succeeded", "failed", "cancelled", "expired"
        ]
        | Omit
        | None = OMIT,
        server_id: str | Omit | None = OMIT,
        kind: models.JobKind | Omit | None = OMIT,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
    ) -> models.JobPage:
        """List the organization's jobs by page, the newest first.

        With `kind`, `registryId` or `applicationId`, and for a key that is limited to
        applications, a page is looked for among the next 20,000 jobs, so it can be empty though
        `nextCursor` names an older page.

        Needs an API key of any role.

        Args:
            limit: Largest number of items in the answer.
            cursor: `nextCursor` of the page before.
            state: State of the jobs to list.
            server_id: Id of the server.
            kind: Kind of the jobs to list.
            registry_id: Id of the registry.
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.JobPage](
                "job.all",
                models.JobPage,
                "GET",
                {
                    "limit": limit,
                    "cursor": cursor,
                    "state": state,
                    "serverId": server_id,
                    "kind": kind,
                    "registryId": registry_id,
                    "applicationId": application_id,
                },
            )
        )

    async def one(self, job_id: str) -> models.JobDetail:
        """Return one job with its attempts, its events, and the reason why it waits.

        Needs an API key of any role.

        Args:
            job_id: Id of the job.
        """
        return await self._call(
            Call[models.JobDetail]("job.one", models.JobDetail, "GET", {"jobId": job_id})
        )

    async def cancel(self, job_id: str) -> models.JobCancellation:
        """Cancel a job: at once if it has not begun; otherwise its worker stops it.

        A job of an application can be cancelled by callers who may build the application.

        Needs an API key with the role `member` or `admin`.

        Args:
            job_id: Id of the job.
        """
        return await self._call(
            Call[models.JobCancellation](
                "job.cancel", models.JobCancellation, "POST", {"jobId": job_id}
            )
        )

    async def retry(self, job_id: str, *, idempotency_key: str | None = None) -> models.RetriedJob:
        """Repeat a failed, cancelled or expired job: a new one has its command and its server.

        Pulls, pushes, copies, tags and tests of stored registries are repeated, with the rights
        that their own procedures need. While the new job has not ended, another request returns
        it.

        Needs an API key with the role `member` or `admin`.

        Args:
            job_id: Id of the job.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.RetriedJob](
                "job.retry",
                models.RetriedJob,
                "POST",
                {"jobId": job_id},
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def statistics(self, *, hours: int | Omit = OMIT) -> models.JobStatistics:
        """Count the newest jobs by hour and state, their error codes, and the slowest transfers.

        Needs an API key of any role.

        Args:
            hours: Hours to look back.
        """
        return await self._call(
            Call[models.JobStatistics](
                "job.statistics", models.JobStatistics, "GET", {"hours": hours}
            )
        )

    async def wait(
        self,
        job_id: str,
        *,
        timeout: timedelta | None = None,
        on_event: OnEvent | None = None,
        check: bool = True,
    ) -> models.JobDetail:
        """Wait until a job has ended, and return it.

        ``on_event`` gets its events as they happen. A broken connection is opened again; no event
        is lost or given twice.

        Raises:
            ApiError: the job did not succeed, unless ``check`` is false; with its code, message
                and remedy. After the timeout the code is ``wait_timeout``, and the job goes on;
                the time is looked at every 15 s or more often.
        """
        return await following.wait_for_job(
            self._caller, job_id, timeout=timeout, on_event=on_event, check=check
        )

    def events(
        self, job_id: str, *, after: int | None = None, timeout: timedelta | None = None
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of a job until it has ended, those after a number if one is given.

        Raises:
            ApiError: the API refused it, or cannot be reached; ``wait_timeout`` after the timeout.
        """
        return following.follow_events(self._caller, job_id, after=after, timeout=timeout)


class AsyncOrganizationProcedures(AsyncGroup):
    """Procedures of `organization`."""

    async def quotas(self) -> list[models.OrganizationQuota]:
        """Return the quotas of the caller's organization, and how much of each it uses.

        `queuedJobs` are all jobs that have not ended. `uploadBytes` are the uploads that are
        kept.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.OrganizationQuota]](
                "organization.quotas", list[models.OrganizationQuota], "GET", {}
            )
        )

    async def settings(self) -> models.OrganizationSettings:
        """Return the settings of the caller's organization.

        Needs an API key of any role.
        """
        return await self._call(
            Call[models.OrganizationSettings](
                "organization.settings", models.OrganizationSettings, "GET", {}
            )
        )

    async def update_settings(
        self,
        *,
        rotate_after_days: int | Omit = OMIT,
        networks: list[str] | Omit = OMIT,
        server_networks: list[str] | Omit = OMIT,
        force: bool | Omit = OMIT,
    ) -> models.OrganizationSettings:
        """Change the settings of the caller's organization; return them.

        Needs an API key with the role `admin`.

        Args:
            rotate_after_days: Days after which a password is due; null: the organization's.
            networks: Source networks, from which it may be used; empty: all.
            server_networks: Networks from which workers may use the API; empty: all.
            force: Exclude the caller's address too.
        """
        return await self._call(
            Call[models.OrganizationSettings](
                "organization.updateSettings",
                models.OrganizationSettings,
                "POST",
                {
                    "rotateAfterDays": rotate_after_days,
                    "networks": networks,
                    "serverNetworks": server_networks,
                    "force": force,
                },
            )
        )

    async def update_member_networks(
        self, *, member_id: str, networks: list[str], force: bool | Omit = OMIT
    ) -> bool:
        """Limit a member and its personal keys to networks. Only an owner limits an owner.

        Needs an API key with the role `admin`.

        Args:
            member_id: Id of the member.
            networks: Source networks, from which it may be used; empty: all.
            force: Exclude the caller's address too.
        """
        return await self._call(
            Call[bool](
                "organization.updateMemberNetworks",
                bool,
                "POST",
                {"memberId": member_id, "networks": networks, "force": force},
            )
        )

    async def update_member_role(
        self, *, member_id: str, role: Literal["owner", "admin", "member", "viewer"]
    ) -> bool:
        """Change the role of a member. Only an owner makes an owner, or changes the role of one.

        Needs an API key with the role `admin`.

        Args:
            member_id: Id of the member.
            role: Role of the key.
        """
        return await self._call(
            Call[bool](
                "organization.updateMemberRole", bool, "POST", {"memberId": member_id, "role": role}
            )
        )

    async def invite_member(
        self,
        *,
        email: str | Omit | None = OMIT,
        role: Literal["owner", "admin", "member", "viewer"] | Omit = OMIT,
    ) -> models.CreatedInvitation:
        """Invite a person by a link that works once, within seven days.

        Owners are invited by owners, or by an administrator as long as there is none.

        Needs an API key with the role `admin`.

        Args:
            email: E-mail address of the person; null if there is none.
            role: Role of the key.
        """
        return await self._call(
            Call[models.CreatedInvitation](
                "organization.inviteMember",
                models.CreatedInvitation,
                "POST",
                {"email": email, "role": role},
            )
        )

    async def all_invitations(self) -> list[models.Invitation]:
        """List the invitations that can still be accepted, the oldest first.

        Needs an API key with the role `admin`.
        """
        return await self._call(
            Call[list[models.Invitation]](
                "organization.allInvitations", list[models.Invitation], "GET", {}
            )
        )

    async def remove_invitation(self, invitation_id: str) -> bool:
        """Remove an invitation: its link stops working at once.

        Needs an API key with the role `admin`.

        Args:
            invitation_id: Id of the invitation.
        """
        return await self._call(
            Call[bool](
                "organization.removeInvitation", bool, "POST", {"invitationId": invitation_id}
            )
        )


class AsyncProjectProcedures(AsyncGroup):
    """Procedures of `project`."""

    async def all(self) -> list[models.Project]:
        """List the one project, with its environment and all applications.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Project]]("project.all", list[models.Project], "GET", {})
        )

    async def one(self, project_id: str) -> models.Project:
        """Return the project, with its environment and all applications.

        Needs an API key of any role.

        Args:
            project_id: Id of the project.
        """
        return await self._call(
            Call[models.Project]("project.one", models.Project, "GET", {"projectId": project_id})
        )


class AsyncRegistryProcedures(AsyncGroup):
    """Procedures of `registry`."""

    async def create(
        self,
        *,
        registry_name: str,
        registry_url: str,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        install_ca: bool | Omit = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        registry_type: Literal["cloud", "selfHosted"] | Omit = OMIT,
        image_prefix: str | Omit | None = OMIT,
        allowed_servers: list[str] | Omit = OMIT,
        allowed_applications: list[str] | Omit = OMIT,
        rotate_after_days: int | Omit | None = OMIT,
    ) -> models.CreatedRegistry:
        """Store a registry without testing it.

        Needs an API key with the role `admin`.

        Args:
            ca_certificate: Certificates of the registry's own CA, in PEM.
            client_certificate: Client certificate and its chain, in PEM.
            client_key: Key of the client certificate, in PEM; no answer contains it.
            plain_http: True if an administrator allows connections without TLS.
            install_ca: True if workers store the certificates where their Docker Engine finds them.
            registry_name: Name of the registry, as people call it.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            credential: Source of short-lived logins; no answer contains its secrets.
            registry_type: Who runs the registry; nothing depends on it.
            image_prefix: Namespace that is put before the names of pushed images.
            allowed_servers: Ids of the servers that may receive the login; empty means all.
            allowed_applications: Ids of the applications that may use the login; empty means all.
            rotate_after_days: Days after which a password is due; null: the organization's.
        """
        return await self._call(
            Call[models.CreatedRegistry](
                "registry.create",
                models.CreatedRegistry,
                "POST",
                {
                    "caCertificate": ca_certificate,
                    "clientCertificate": client_certificate,
                    "clientKey": client_key,
                    "plainHttp": plain_http,
                    "installCa": install_ca,
                    "registryName": registry_name,
                    "registryUrl": registry_url,
                    "username": username,
                    "password": password,
                    "credential": credential,
                    "registryType": registry_type,
                    "imagePrefix": image_prefix,
                    "allowedServers": allowed_servers,
                    "allowedApplications": allowed_applications,
                    "rotateAfterDays": rotate_after_days,
                },
            )
        )

    async def all(self) -> list[models.Registry]:
        """List all registries of the organization, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Registry]]("registry.all", list[models.Registry], "GET", {})
        )

    async def one(self, registry_id: str) -> models.RegistryWithRotation:
        """Return one registry, the use and the newest rotation of its login, and what needs it.

        Needs an API key of any role.

        Args:
            registry_id: Id of the registry.
        """
        return await self._call(
            Call[models.RegistryWithRotation](
                "registry.one", models.RegistryWithRotation, "GET", {"registryId": registry_id}
            )
        )

    async def update(
        self,
        registry_id: str,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        install_ca: bool | Omit = OMIT,
        registry_name: str | Omit = OMIT,
        registry_url: str | Omit = OMIT,
        username: str | Omit = OMIT,
        password: str | Omit = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        allowed_servers: list[str] | Omit = OMIT,
        allowed_applications: list[str] | Omit = OMIT,
        rotate_after_days: int | Omit | None = OMIT,
        force: bool | Omit = OMIT,
    ) -> bool:
        """Change a registry; a new host or username needs the password or credential again.

        A new password or credential is used at once, without a test, and the former one is kept
        for a day: `registry.rollbackCredential` goes back to it. `registry.rotate` tests it
        first. A change that breaks a use of the registry, as another host, is refused with the
        uses, unless `force` is given.

        Needs an API key with the role `admin`.

        Args:
            ca_certificate: Certificates of the registry's own CA, in PEM.
            client_certificate: Client certificate and its chain, in PEM.
            client_key: Key of the client certificate, in PEM; no answer contains it.
            plain_http: True if an administrator allows connections without TLS.
            install_ca: True if workers store the certificates where their Docker Engine finds them.
            registry_id: Id of the registry.
            registry_name: Name of the registry, as people call it.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            credential: Source of short-lived logins; no answer contains its secrets.
            image_prefix: Namespace that is put before the names of pushed images.
            allowed_servers: Ids of the servers that may receive the login; empty means all.
            allowed_applications: Ids of the applications that may use the login; empty means all.
            rotate_after_days: Days after which a password is due; null: the organization's.
            force: Change or remove the registry although it is used.
        """
        return await self._call(
            Call[bool](
                "registry.update",
                bool,
                "POST",
                {
                    "caCertificate": ca_certificate,
                    "clientCertificate": client_certificate,
                    "clientKey": client_key,
                    "plainHttp": plain_http,
                    "installCa": install_ca,
                    "registryId": registry_id,
                    "registryName": registry_name,
                    "registryUrl": registry_url,
                    "username": username,
                    "password": password,
                    "credential": credential,
                    "imagePrefix": image_prefix,
                    "allowedServers": allowed_servers,
                    "allowedApplications": allowed_applications,
                    "rotateAfterDays": rotate_after_days,
                    "force": force,
                },
            )
        )

    async def remove(self, registry_id: str, *, force: bool | Omit = OMIT) -> models.Registry:
        """Remove a registry and its password; return the removed registry.

        A registry that is used is not removed, unless `force` is given: the error names the
        uses.

        Needs an API key with the role `admin`.

        Args:
            registry_id: Id of the registry.
            force: Change or remove the registry although it is used.
        """
        return await self._call(
            Call[models.Registry](
                "registry.remove",
                models.Registry,
                "POST",
                {"registryId": registry_id, "force": force},
            )
        )

    async def rotate(
        self,
        registry_id: str,
        *,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        force: bool | Omit = OMIT,
        keep_old_hours: int | Omit = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> models.StartedRotation:
        """Test a new login of a registry from its servers, and use it if all of them succeed.

        One server tests it first, then all others that use the registry, as far as they are
        online. A failed test refuses it, and the old login stays in use. Running jobs end with
        the login that they began with. The answer comes after the switch, or after half a
        minute as `testing`; see `registry.one` then. A caller that leaves does not end it.

        Needs an API key with the role `admin`.

        Args:
            registry_id: Id of the registry.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            credential: Source of short-lived logins; no answer contains its secrets.
            force: Use the new login although a test of it fails.
            keep_old_hours: Hours for which the old login is kept after the switch.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the jobs: return what is known at once.
        """
        return await self._call(
            Call[models.StartedRotation](
                "registry.rotate",
                models.StartedRotation,
                "POST",
                {
                    "registryId": registry_id,
                    "username": username,
                    "password": password,
                    "credential": credential,
                    "force": force,
                    "keepOldHours": keep_old_hours,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    async def cancel_rotation(self, registry_id: str) -> models.Rotation:
        """Cancel a rotation whose new login is being tested; the registry keeps its login.

        Needs an API key with the role `admin`.

        Args:
            registry_id: Id of the registry.
        """
        return await self._call(
            Call[models.Rotation](
                "registry.cancelRotation", models.Rotation, "POST", {"registryId": registry_id}
            )
        )

    async def rollback_credential(self, registry_id: str) -> models.Rotation:
        """Use the former login of a registry again, while it is kept, and drop the newer one.

        It is used at once, without a test.

        Needs an API key with the role `admin`.

        Args:
            registry_id: Id of the registry.
        """
        return await self._call(
            Call[models.Rotation](
                "registry.rollbackCredential", models.Rotation, "POST", {"registryId": registry_id}
            )
        )

    @overload
    async def test(
        self,
        registry_url: str,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> bool: ...

    @overload
    async def test(
        self,
        registry_url: str,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def test(
        self,
        registry_url: str,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool,
    ) -> bool | models.AcceptedJob: ...

    async def test(
        self,
        registry_url: str,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> bool | models.AcceptedJob:
        """Test a registry that is not stored: return `true`, or an error with cause and remedy.

        Requests for the same test at the same moment share one job, if they wait for its end
        and have no `Idempotency-Key`. A caller that leaves does not end the test of the others.

        Needs an API key with the role `member` or `admin`.

        Args:
            ca_certificate: Certificates of the registry's own CA, in PEM.
            client_certificate: Client certificate and its chain, in PEM.
            client_key: Key of the client certificate, in PEM; no answer contains it.
            plain_http: True if an administrator allows connections without TLS.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            credential: Source of short-lived logins; no answer contains its secrets.
            image_prefix: Namespace that is put before the names of pushed images.
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[bool | models.AcceptedJob](
                "registry.testRegistry",
                models.AcceptedJob if respond_async else bool,
                "POST",
                {
                    "caCertificate": ca_certificate,
                    "clientCertificate": client_certificate,
                    "clientKey": client_key,
                    "plainHttp": plain_http,
                    "registryUrl": registry_url,
                    "username": username,
                    "password": password,
                    "credential": credential,
                    "imagePrefix": image_prefix,
                    "serverId": server_id,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    @overload
    async def test_by_id(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> bool: ...

    @overload
    async def test_by_id(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def test_by_id(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool,
    ) -> bool | models.AcceptedJob: ...

    async def test_by_id(
        self,
        registry_id: str,
        *,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> bool | models.AcceptedJob:
        """Test a stored registry: return `true`, or an error with cause and remedy.

        Requests for the same test share one job, as with `registry.testRegistry`.

        Needs an API key with the role `member` or `admin`.

        Args:
            registry_id: Id of the registry.
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[bool | models.AcceptedJob](
                "registry.testRegistryById",
                models.AcceptedJob if respond_async else bool,
                "POST",
                {"registryId": registry_id, "serverId": server_id},
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    @overload
    async def diagnose(
        self,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        registry_id: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> models.ProbeReport: ...

    @overload
    async def diagnose(
        self,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        registry_id: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def diagnose(
        self,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        registry_id: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool,
    ) -> models.ProbeReport | models.AcceptedJob: ...

    async def diagnose(
        self,
        *,
        ca_certificate: str | Omit | None = OMIT,
        client_certificate: str | Omit | None = OMIT,
        client_key: str | Omit | None = OMIT,
        plain_http: bool | Omit = OMIT,
        registry_id: str | Omit | None = OMIT,
        registry_url: str | Omit | None = OMIT,
        username: str | Omit | None = OMIT,
        password: str | Omit | None = OMIT,
        credential: models.AcrSourceInput
        | models.EcrSourceInput
        | models.GoogleSourceInput
        | Omit
        | None = OMIT,
        image_prefix: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> models.ProbeReport | models.AcceptedJob:
        """Test a registry and return every stage of the test.

        Needs an API key with the role `member` or `admin`.

        Args:
            ca_certificate: Certificates of the registry's own CA, in PEM.
            client_certificate: Client certificate and its chain, in PEM.
            client_key: Key of the client certificate, in PEM; no answer contains it.
            plain_http: True if an administrator allows connections without TLS.
            registry_id: Id of the registry.
            registry_url: Address of the registry: `host[:port]`; empty for Docker Hub.
            username: Username of the registry's login.
            password: Password or token; no answer contains it.
            credential: Source of short-lived logins; no answer contains its secrets.
            image_prefix: Namespace that is put before the names of pushed images.
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.ProbeReport | models.AcceptedJob](
                "registry.diagnose",
                models.AcceptedJob if respond_async else models.ProbeReport,
                "POST",
                {
                    "caCertificate": ca_certificate,
                    "clientCertificate": client_certificate,
                    "clientKey": client_key,
                    "plainHttp": plain_http,
                    "registryId": registry_id,
                    "registryUrl": registry_url,
                    "username": username,
                    "password": password,
                    "credential": credential,
                    "imagePrefix": image_prefix,
                    "serverId": server_id,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    async def test_on_servers(
        self,
        *,
        registry_ids: list[str] | Omit | None = OMIT,
        server_ids: list[str] | Omit | None = OMIT,
        respond_async: bool = False,
    ) -> models.RegistryMatrix:
        """Test registries from servers, with one job for each pair.

        It waits until all tests have ended, at most half a minute. The `state` of a cell is
        that of its test; call `registry.matrix` for later results. With `Prefer: respond-async`
        it answers at once.

        Needs an API key with the role `member` or `admin`.

        Args:
            registry_ids: Ids of the registries; by default all.
            server_ids: Ids of the servers.
            respond_async: Do not wait for the jobs: return what is known at once.
        """
        return await self._call(
            Call[models.RegistryMatrix](
                "registry.testOnServers",
                models.RegistryMatrix,
                "POST",
                {"registryIds": registry_ids, "serverIds": server_ids},
                respond_async=respond_async,
            )
        )

    async def matrix(
        self,
        *,
        registry_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        history: int | Omit = OMIT,
    ) -> models.RegistryMatrix:
        """Return the newest tests of each registry from each server.

        Needs an API key of any role.

        Args:
            registry_id: Id of the registry.
            server_id: Id of the server.
            history: Number of earlier tests of each pair.
        """
        return await self._call(
            Call[models.RegistryMatrix](
                "registry.matrix",
                models.RegistryMatrix,
                "GET",
                {"registryId": registry_id, "serverId": server_id, "history": history},
            )
        )


class AsyncRestoreProcedures(AsyncGroup):
    """Procedures of `restore`."""

    async def one(self) -> models.RestoredDatabase:
        """Show the jobs that wait since the database was restored, and the keys of the backup.

        Needs an API key with the role `admin`.
        """
        return await self._call(
            Call[models.RestoredDatabase]("restore.one", models.RestoredDatabase, "GET", {})
        )

    async def resume(self) -> models.ResumedJobs:
        """Resume the jobs that wait since the database was restored. Cancel unwanted jobs first.

        Needs an API key with the role `admin`.
        """
        return await self._call(
            Call[models.ResumedJobs]("restore.resume", models.ResumedJobs, "POST", {})
        )


class AsyncRollbackProcedures(AsyncGroup):
    """Procedures of `rollback`."""

    async def all(self, application_id: str) -> list[models.RollbackPoint]:
        """List an application's rollback points, the last used one first.

        Each is shown as it was last verified, which control does once a day; `rollback.verify`
        verifies them now.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[list[models.RollbackPoint]](
                "rollback.all", list[models.RollbackPoint], "GET", {"applicationId": application_id}
            )
        )

    async def verify(self, application_id: str) -> list[models.RollbackPoint]:
        """Verify an application's rollback points at their registries, and list them.

        A point that was verified in the last minute is not verified again. The answer waits ten
        seconds at the most; a point that takes longer is shown as it was verified before.

        Needs an API key with the role `member` or `admin`.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[list[models.RollbackPoint]](
                "rollback.verify",
                list[models.RollbackPoint],
                "POST",
                {"applicationId": application_id},
            )
        )

    async def rollback(
        self,
        rollback_id: str,
        *,
        title: str | Omit | None = OMIT,
        description: str | Omit | None = OMIT,
        newest_deployment_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedDeployment:
        """Run a rollback point's image with its settings, on the current servers.

        The variables are the current ones. It is a deployment: answered at once, with a health
        gate on each server; what fails leaves what ran before. The image comes from where it is
        retained, whatever became of the build registry.

        With `newestDeploymentId` it is refused if there is a newer deployment than the caller
        knows.

        Needs an API key with the role `member` or `admin`.

        Args:
            title: Title, any text.
            description: Description, any text.
            rollback_id: Id of the rollback point.
            newest_deployment_id: Id of the newest deployment that the caller knows.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedDeployment](
                "rollback.rollback",
                models.AcceptedDeployment,
                "POST",
                {
                    "title": title,
                    "description": description,
                    "rollbackId": rollback_id,
                    "newestDeploymentId": newest_deployment_id,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def delete(self, rollback_id: str) -> models.RollbackPoint:
        """Delete a rollback point, and its image if nothing else needs it.

        While a server runs the image, it stays; it is deleted afterwards. The bytes stay where
        another tag, build, point or deployment needs them, or an index or a signature names
        them; the result of the job (`image.delete`) says why.

        Needs an API key with the role `member` or `admin`.

        Args:
            rollback_id: Id of the rollback point.
        """
        return await self._call(
            Call[models.RollbackPoint](
                "rollback.delete", models.RollbackPoint, "POST", {"rollbackId": rollback_id}
            )
        )


class AsyncSbomProcedures(AsyncGroup):
    """Procedures of `sbom`."""

    async def packages(self, digest: str) -> list[models.Package]:
        """List the packages in an image, by type and name, as its SBOM has them.

        Needs an API key of any role.

        Args:
            digest: Digest of the image.
        """
        return await self._call(
            Call[list[models.Package]](
                "sbom.packages", list[models.Package], "GET", {"digest": digest}
            )
        )

    async def search(
        self,
        name: str,
        *,
        below: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
    ) -> models.Matches:
        """List the running applications whose image contains a package, by the index of SBOMs.

        With `below` only those whose version is older, by the rules of the package's type
        (Debian, RPM, Alpine, PyPI, npm, Go, Maven …); versions that cannot be compared are
        listed too, with `isBelow: null`.

        Needs an API key of any role.

        Args:
            name: Part of the name; of a package the whole name.
            below: Version; only older ones are listed.
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.Matches](
                "sbom.search",
                models.Matches,
                "GET",
                {"name": name, "below": below, "applicationId": application_id},
            )
        )


class AsyncScanProcedures(AsyncGroup):
    """Procedures of `scan`."""

    async def run(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        sbom: Literal["spdx", "cyclonedx"] | Omit | None = OMIT,
        attach: bool | Omit = OMIT,
        idempotency_key: str | None = None,
    ) -> models.AcceptedJob:
        """Scan an image on a server, with the scanner that is there.

        A server is chosen if none is given. The policy of the application, or of the
        organization, says what is accepted; under `enforce` the job fails if it is violated.
        `scan.one` shows the report when the job has ended.

        Needs an API key with the role `member` or `admin`.

        Args:
            image: Name of the image.
            registry_id: Id of the registry.
            application_id: Id of the application.
            server_id: Id of the server.
            sbom: Format of the SBOM to make; null for none.
            attach: Store the SBOM beside the image in its registry.
            idempotency_key: Makes a repetition, also by another process, the same work.
        """
        return await self._call(
            Call[models.AcceptedJob](
                "scan.run",
                models.AcceptedJob,
                "POST",
                {
                    "image": image,
                    "registryId": registry_id,
                    "applicationId": application_id,
                    "serverId": server_id,
                    "sbom": sbom,
                    "attach": attach,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
            )
        )

    async def one(self, digest: str) -> models.Report:
        """Return the report about an image: SBOM, vulnerabilities, and when they were made.

        Needs an API key of any role.

        Args:
            digest: Digest of the image.
        """
        return await self._call(
            Call[models.Report]("scan.one", models.Report, "GET", {"digest": digest})
        )


class AsyncScanPolicyProcedures(AsyncGroup):
    """Procedures of `scanPolicy`."""

    async def one(self, *, application_id: str | Omit | None = OMIT) -> models.ScanPolicy:
        """Return the policy that holds for an application, or the organization's.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.ScanPolicy](
                "scanPolicy.one", models.ScanPolicy, "GET", {"applicationId": application_id}
            )
        )

    async def set(
        self,
        *,
        application_id: str | Omit | None = OMIT,
        sbom: Literal["off", "spdx", "cyclonedx"] | Omit = OMIT,
        mode: Literal["off", "warn", "enforce"] | Omit = OMIT,
        max_severity: Literal["none", "low", "medium", "high"] | Omit = OMIT,
        exceptions: list[models.AcceptedVulnerabilityInput] | Omit = OMIT,
        inherit: bool | Omit = OMIT,
    ) -> models.ScanPolicy:
        """Set the scan policy of an application, or of the organization by default.

        With `sbom` each new build gets an SBOM in this format, stored beside the image. With
        `warn` or `enforce` each new image is scanned on its build server: `warn` adds a warning
        to the job if a vulnerability is more severe than `maxSeverity`; `enforce` fails the
        build, so it is not deployed. Exceptions accept a vulnerability until a time. Builds
        that were requested earlier keep the policy of that time.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
            sbom: SBOM of new images: its format; or what is known of the SBOM.
            mode: `off`, `warn`, or `enforce`, which refuses to deploy.
            max_severity: The worst severity that is accepted.
            exceptions: Vulnerabilities that are accepted for some time.
            inherit: Whether the application gets the organization's policy again.
        """
        return await self._call(
            Call[models.ScanPolicy](
                "scanPolicy.set",
                models.ScanPolicy,
                "POST",
                {
                    "applicationId": application_id,
                    "sbom": sbom,
                    "mode": mode,
                    "maxSeverity": max_severity,
                    "exceptions": exceptions,
                    "inherit": inherit,
                },
            )
        )


class AsyncServerProcedures(AsyncGroup):
    """Procedures of `server`."""

    async def create(
        self,
        name: str,
        *,
        description: str | Omit | None = OMIT,
        ip_address: str | Omit | None = OMIT,
        roles: list[Literal["deploy", "build"]] | Omit = OMIT,
        server_type: Literal["deploy", "build"] | Omit | None = OMIT,
        networks: list[str] | Omit = OMIT,
    ) -> models.CreatedServer:
        """Create a server, and the join token for its worker.

        Needs an API key with the role `admin`.

        Args:
            name: Name.
            description: Description, any text.
            ip_address: Address of the server, given or seen.
            roles: What the server does: `build`, `deploy` or both.
            server_type: `build` for a server that only builds, in Dokploy's words.
            networks: Source networks, from which it may be used; empty: all.
        """
        return await self._call(
            Call[models.CreatedServer](
                "server.create",
                models.CreatedServer,
                "POST",
                {
                    "name": name,
                    "description": description,
                    "ipAddress": ip_address,
                    "roles": roles,
                    "serverType": server_type,
                    "networks": networks,
                },
            )
        )

    async def create_join_token(self, server_id: str) -> models.JoinToken:
        """Create another join token for a server that has not joined yet.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[models.JoinToken](
                "server.createJoinToken", models.JoinToken, "POST", {"serverId": server_id}
            )
        )

    async def all(self) -> list[models.Server]:
        """List all servers of the organization, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Server]]("server.all", list[models.Server], "GET", {})
        )

    async def build_servers(self) -> list[models.Server]:
        """List the servers that build, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Server]]("server.buildServers", list[models.Server], "GET", {})
        )

    async def one(self, server_id: str) -> models.Server:
        """Return one server.

        Needs an API key of any role.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[models.Server]("server.one", models.Server, "GET", {"serverId": server_id})
        )

    async def update(
        self,
        server_id: str,
        *,
        name: str | Omit = OMIT,
        description: str | Omit | None = OMIT,
        ip_address: str | Omit | None = OMIT,
        roles: list[Literal["deploy", "build"]] | Omit = OMIT,
        server_type: Literal["deploy", "build"] | Omit | None = OMIT,
        networks: list[str] | Omit = OMIT,
    ) -> models.ChangedServer:
        """Change a server's name, description, address, roles or networks.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
            name: Name.
            description: Description, any text.
            ip_address: Address of the server, given or seen.
            roles: What the server does: `build`, `deploy` or both.
            server_type: `build` for a server that only builds, in Dokploy's words.
            networks: Source networks, from which it may be used; empty: all.
        """
        return await self._call(
            Call[models.ChangedServer](
                "server.update",
                models.ChangedServer,
                "POST",
                {
                    "serverId": server_id,
                    "name": name,
                    "description": description,
                    "ipAddress": ip_address,
                    "roles": roles,
                    "serverType": server_type,
                    "networks": networks,
                },
            )
        )

    async def remove(self, server_id: str) -> models.Server:
        """Remove a server: its worker loses access, and the jobs that wait for it are cancelled.

        A server that an application uses is not removed.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[models.Server]("server.remove", models.Server, "POST", {"serverId": server_id})
        )

    async def pause(
        self,
        server_id: str,
        *,
        job_class: Literal["quick", "transfer", "build"] | Omit | None = OMIT,
    ) -> models.Server:
        """Send a server no new jobs, of one class or of all. Its running jobs continue.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
            job_class: Class of jobs; null means all.
        """
        return await self._call(
            Call[models.Server](
                "server.pause",
                models.Server,
                "POST",
                {"serverId": server_id, "jobClass": job_class},
            )
        )

    async def drain(self, server_id: str) -> models.Server:
        """Empty a server: it gets no new jobs, and its running transfers go back to the queue.

        Other running jobs, as builds and deployments, continue to their end. What is queued
        waits for `server.resume`. A worker that is older finishes its transfers too.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[models.Server]("server.drain", models.Server, "POST", {"serverId": server_id})
        )

    async def resume(
        self,
        server_id: str,
        *,
        job_class: Literal["quick", "transfer", "build"] | Omit | None = OMIT,
    ) -> models.Server:
        """Resume a paused or drained server, for one class of jobs or for all.

        Needs an API key with the role `admin`.

        Args:
            server_id: Id of the server.
            job_class: Class of jobs; null means all.
        """
        return await self._call(
            Call[models.Server](
                "server.resume",
                models.Server,
                "POST",
                {"serverId": server_id, "jobClass": job_class},
            )
        )

    async def validate(self, server_id: str) -> models.ServerValidation:
        """Return the state of a server: joined, online, worker, Engine, disk and clock.

        Needs an API key of any role.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[models.ServerValidation](
                "server.validate", models.ServerValidation, "GET", {"serverId": server_id}
            )
        )

    @overload
    async def check(
        self,
        server_id: str,
        *,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> models.ServerPathCheck: ...

    @overload
    async def check(
        self, server_id: str, *, idempotency_key: str | None = None, respond_async: Literal[True]
    ) -> models.AcceptedJob: ...

    @overload
    async def check(
        self, server_id: str, *, idempotency_key: str | None = None, respond_async: bool
    ) -> models.ServerPathCheck | models.AcceptedJob: ...

    async def check(
        self, server_id: str, *, idempotency_key: str | None = None, respond_async: bool = False
    ) -> models.ServerPathCheck | models.AcceptedJob:
        """Read the version of a server's Engine with a job, and report which parts the job passed.

        Needs an API key with the role `member` or `admin`.

        Args:
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.ServerPathCheck | models.AcceptedJob](
                "server.check",
                models.AcceptedJob if respond_async else models.ServerPathCheck,
                "POST",
                {"serverId": server_id},
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    async def enroll(
        self,
        *,
        join_token: str,
        public_key: str,
        role_verifier: str,
        broker_password_hash: str | Omit | None = OMIT,
    ) -> models.EnrolledServer:
        """Bind a server's key and passwords to its join token, once.

        Needs no API key.

        Args:
            join_token: Token with which a worker joins, once within 15 minutes; shown only once.
            public_key: Public key: of a server, or that checks signatures (PEM).
            role_verifier: SCRAM-SHA-256 verifier of the server's database password.
            broker_password_hash: SHA-256 of the server's broker password, in hexadecimal.
        """
        return await self._call(
            Call[models.EnrolledServer](
                "server.enroll",
                models.EnrolledServer,
                "POST",
                {
                    "joinToken": join_token,
                    "publicKey": public_key,
                    "roleVerifier": role_verifier,
                    "brokerPasswordHash": broker_password_hash,
                },
            )
        )

    async def is_removed(self, server_id: str) -> bool:
        """Report whether a server was removed, to a worker that the database refuses.

        Needs no API key.

        Args:
            server_id: Id of the server.
        """
        return await self._call(
            Call[bool]("server.isRemoved", bool, "GET", {"serverId": server_id})
        )

    async def count(self) -> int:
        """Return the number of servers of the organization.

        Needs an API key of any role.
        """
        return await self._call(Call[int]("server.count", int, "GET", {}))


class AsyncSettingsProcedures(AsyncGroup):
    """Procedures of `settings`."""

    async def health(self) -> models.Health:
        """Answer that this process serves requests.

        Needs no API key.
        """
        return await self._call(Call[models.Health]("settings.health", models.Health, "GET", {}))

    async def get_dokploy_version(self) -> str:
        """Return the version of Dokploy whose clients are supported. It is not Wharfinger's.

        Needs an API key of any role.
        """
        return await self._call(Call[str]("settings.getDokployVersion", str, "GET", {}))

    async def is_cloud(self) -> bool:
        """Return false: this is not Dokploy's hosted service.

        Needs an API key of any role.
        """
        return await self._call(Call[bool]("settings.isCloud", bool, "GET", {}))


class AsyncSignatureProcedures(AsyncGroup):
    """Procedures of `signature`."""

    @overload
    async def sign(
        self,
        *,
        image: str,
        registry_id: str,
        signing_key_id: str,
        forms: list[Literal["tag", "bundle"]] | Omit = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[False] = False,
    ) -> models.SignedImage: ...

    @overload
    async def sign(
        self,
        *,
        image: str,
        registry_id: str,
        signing_key_id: str,
        forms: list[Literal["tag", "bundle"]] | Omit = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def sign(
        self,
        *,
        image: str,
        registry_id: str,
        signing_key_id: str,
        forms: list[Literal["tag", "bundle"]] | Omit = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool,
    ) -> models.SignedImage | models.AcceptedJob: ...

    async def sign(
        self,
        *,
        image: str,
        registry_id: str,
        signing_key_id: str,
        forms: list[Literal["tag", "bundle"]] | Omit = OMIT,
        server_id: str | Omit | None = OMIT,
        idempotency_key: str | None = None,
        respond_async: bool = False,
    ) -> models.SignedImage | models.AcceptedJob:
        """Sign an image's digest, and store the signature beside it in its registry.

        `cosign verify --key` accepts it. Control makes the signature; a server stores it.

        Needs an API key with the role `member` or `admin`.

        Args:
            image: Name of the image.
            registry_id: Id of the registry.
            signing_key_id: Id of the signing key.
            forms: Where the signature is stored: `tag` (cosign 2), `bundle` (cosign 3).
            server_id: Id of the server.
            idempotency_key: Makes a repetition, also by another process, the same work.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.SignedImage | models.AcceptedJob](
                "signature.sign",
                models.AcceptedJob if respond_async else models.SignedImage,
                "POST",
                {
                    "image": image,
                    "registryId": registry_id,
                    "signingKeyId": signing_key_id,
                    "forms": forms,
                    "serverId": server_id,
                },
                takes_key=True,
                idempotency_key=idempotency_key,
                respond_async=respond_async,
            )
        )

    @overload
    async def verify(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        signing_key_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: Literal[False] = False,
    ) -> models.VerifiedImage: ...

    @overload
    async def verify(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        signing_key_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: Literal[True],
    ) -> models.AcceptedJob: ...

    @overload
    async def verify(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        signing_key_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: bool,
    ) -> models.VerifiedImage | models.AcceptedJob: ...

    async def verify(
        self,
        image: str,
        *,
        registry_id: str | Omit | None = OMIT,
        application_id: str | Omit | None = OMIT,
        signing_key_id: str | Omit | None = OMIT,
        server_id: str | Omit | None = OMIT,
        respond_async: bool = False,
    ) -> models.VerifiedImage | models.AcceptedJob:
        """Verify the signatures and attestations beside an image, against keys or a policy.

        Both forms of cosign are read: tags and referrers. A server asks the registry, so this
        waits for a quick job. An image that is not signed is an answer with `violations`, not
        an error.

        Needs an API key of any role.

        Args:
            image: Name of the image, with the host of its registry.
            registry_id: Id of the registry.
            application_id: Id of the application.
            signing_key_id: Id of the signing key.
            server_id: Id of the server.
            respond_async: Do not wait for the job: return its id at once.
        """
        return await self._call(
            Call[models.VerifiedImage | models.AcceptedJob](
                "signature.verify",
                models.AcceptedJob if respond_async else models.VerifiedImage,
                "GET",
                {
                    "image": image,
                    "registryId": registry_id,
                    "applicationId": application_id,
                    "signingKeyId": signing_key_id,
                    "serverId": server_id,
                },
                respond_async=respond_async,
            )
        )


class AsyncSignaturePolicyProcedures(AsyncGroup):
    """Procedures of `signaturePolicy`."""

    async def one(self, *, application_id: str | Omit | None = OMIT) -> models.Policy:
        """Return the policy that holds for an application, or the organization's.

        Needs an API key of any role.

        Args:
            application_id: Id of the application.
        """
        return await self._call(
            Call[models.Policy](
                "signaturePolicy.one", models.Policy, "GET", {"applicationId": application_id}
            )
        )

    async def set(
        self,
        *,
        application_id: str | Omit | None = OMIT,
        mode: Literal["off", "warn", "enforce"] | Omit = OMIT,
        signing_key_ids: list[str] | Omit = OMIT,
        predicate_types: list[str] | Omit = OMIT,
        base_registries: list[str] | Omit = OMIT,
        publishers: list[models.PublisherInput] | Omit = OMIT,
        inherit: bool | Omit = OMIT,
    ) -> models.Policy:
        """Set the signature policy of an application, or of the organization by default.

        `enforce` refuses to deploy or roll back to an image that does not satisfy it: control
        checks it before a server is told to pull, and each server before it pulls. It also
        refuses builds on bases that the policy does not allow. `warn` goes on and adds a
        warning to the job. Deployments and builds that were requested earlier keep the policy
        of that time.

        Needs an API key with the role `admin`.

        Args:
            application_id: Id of the application.
            mode: `off`, `warn`, or `enforce`, which refuses to deploy.
            signing_key_ids: Ids of the keys, one of which has to have signed.
            predicate_types: Types of the attestations that are required.
            base_registries: Registries from which the bases of builds may be; by default all.
            publishers: Publishers, whose images have to be signed by keys of their own.
            inherit: Whether the application gets the organization's policy again.
        """
        return await self._call(
            Call[models.Policy](
                "signaturePolicy.set",
                models.Policy,
                "POST",
                {
                    "applicationId": application_id,
                    "mode": mode,
                    "signingKeyIds": signing_key_ids,
                    "predicateTypes": predicate_types,
                    "baseRegistries": base_registries,
                    "publishers": publishers,
                    "inherit": inherit,
                },
            )
        )


class AsyncSigningKeyProcedures(AsyncGroup):
    """Procedures of `signingKey`."""

    async def create(self, name: str, *, public_key: str | Omit | None = OMIT) -> models.SigningKey:
        """Make a key pair that signs images (ECDSA P-256, as cosign makes it), or add a public
        key.

        The private key is sealed at once: only control opens it, to sign. No server gets it,
        and nobody can read it.

        Needs an API key with the role `admin`.

        Args:
            name: Name.
            public_key: Public key: of a server, or that checks signatures (PEM).
        """
        return await self._call(
            Call[models.SigningKey](
                "signingKey.create",
                models.SigningKey,
                "POST",
                {"name": name, "publicKey": public_key},
            )
        )

    async def all(self) -> list[models.SigningKey]:
        """List the organization's signing keys, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.SigningKey]]("signingKey.all", list[models.SigningKey], "GET", {})
        )

    async def one(self, signing_key_id: str) -> models.SigningKey:
        """Return one signing key, with its public key.

        Needs an API key of any role.

        Args:
            signing_key_id: Id of the signing key.
        """
        return await self._call(
            Call[models.SigningKey](
                "signingKey.one", models.SigningKey, "GET", {"signingKeyId": signing_key_id}
            )
        )

    async def retire(self, signing_key_id: str) -> models.SigningKey:
        """Let a key sign no more. Policies that list it still accept what it has signed.

        To rotate a key: create another one, add it to the policies, and retire this one.

        Needs an API key with the role `admin`.

        Args:
            signing_key_id: Id of the signing key.
        """
        return await self._call(
            Call[models.SigningKey](
                "signingKey.retire", models.SigningKey, "POST", {"signingKeyId": signing_key_id}
            )
        )

    async def remove(self, signing_key_id: str) -> models.SigningKey:
        """Remove a key that no policy lists. What it signed can be checked by its public key only.

        Needs an API key with the role `admin`.

        Args:
            signing_key_id: Id of the signing key.
        """
        return await self._call(
            Call[models.SigningKey](
                "signingKey.remove", models.SigningKey, "POST", {"signingKeyId": signing_key_id}
            )
        )


class AsyncUserProcedures(AsyncGroup):
    """Procedures of `user`."""

    async def get(self) -> models.Member:
        """Return the caller.

        Needs an API key of any role.
        """
        return await self._call(Call[models.Member]("user.get", models.Member, "GET", {}))

    async def all(self) -> list[models.ListedMember]:
        """List the people of the organization, the one who joined first at the head.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.ListedMember]]("user.all", list[models.ListedMember], "GET", {})
        )

    async def remove(self, user_id: str) -> bool:
        """Remove a member: sessions and keys of the person end for this organization at once.

        Needs an API key with the role `admin`.

        Args:
            user_id: Id of the API key.
        """
        return await self._call(Call[bool]("user.remove", bool, "POST", {"userId": user_id}))

    async def create_password_reset(self, user_id: str) -> models.CreatedPasswordReset:
        """Make a link by which a member chooses a new password, once, within an hour.

        All sessions of the member end when it is used, and the second factor is removed. A link
        that was made before stops working. Owners get one from owners only, and members of
        other organizations too only from who is an administrator of all of these.

        Needs an API key with the role `admin`.

        Args:
            user_id: Id of the API key.
        """
        return await self._call(
            Call[models.CreatedPasswordReset](
                "user.createPasswordReset", models.CreatedPasswordReset, "POST", {"userId": user_id}
            )
        )

    async def create_api_key(
        self,
        *,
        name: str,
        metadata: models.KeyMetadataInput,
        expires_in: float | Omit | None = OMIT,
    ) -> models.CreatedUserKey:
        """Create an API key with the role of the caller's, which is shown only once.

        Needs an API key with the role `admin`.

        Args:
            name: Name.
            metadata:
            expires_in: Seconds until the key expires.
        """
        return await self._call(
            Call[models.CreatedUserKey](
                "user.createApiKey",
                models.CreatedUserKey,
                "POST",
                {"name": name, "metadata": metadata, "expiresIn": expires_in},
            )
        )

    async def delete_api_key(self, api_key_id: str) -> bool:
        """Remove an API key. Requests with it are refused from now on.

        Needs an API key with the role `admin`.

        Args:
            api_key_id: Id of the API key.
        """
        return await self._call(
            Call[bool]("user.deleteApiKey", bool, "POST", {"apiKeyId": api_key_id})
        )


class AsyncWebhookProcedures(AsyncGroup):
    """Procedures of `webhook`."""

    async def create(
        self,
        url: str,
        *,
        events: list[
            Literal[
                "job.ended",
                "build.ended",
                "deployment.ended",
                "credential.due",
                "credential.refused",
                "credential.expired",
                "credential.rotated",
                "credential.rotation_refused",
                "credential.rolled_back",
                "certificate.due",
                "certificate.expired",
            ]
        ]
        | Omit = OMIT,
    ) -> models.CreatedWebhook:
        """Create a webhook, which receives a message when a job, build or deployment has ended.

        Messages are signed as in Standard Webhooks, with the secret that is shown only once. A
        message without a 2xx answer within ten seconds is sent again, with the same id, for
        about a day.

        Needs an API key with the role `admin`.

        Args:
            url: Address that the messages are sent to.
            events: Kinds of events that are sent.
        """
        return await self._call(
            Call[models.CreatedWebhook](
                "webhook.create", models.CreatedWebhook, "POST", {"url": url, "events": events}
            )
        )

    async def all(self) -> list[models.Webhook]:
        """List all webhooks of the organization, the oldest first.

        Needs an API key of any role.
        """
        return await self._call(
            Call[list[models.Webhook]]("webhook.all", list[models.Webhook], "GET", {})
        )

    async def one(self, webhook_id: str) -> models.Webhook:
        """Return one webhook.

        Needs an API key of any role.

        Args:
            webhook_id: Id of the webhook.
        """
        return await self._call(
            Call[models.Webhook]("webhook.one", models.Webhook, "GET", {"webhookId": webhook_id})
        )

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | Omit = OMIT,
        events: list[
            Literal[
                "job.ended",
                "build.ended",
                "deployment.ended",
                "credential.due",
                "credential.refused",
                "credential.expired",
                "credential.rotated",
                "credential.rotation_refused",
                "credential.rolled_back",
                "certificate.due",
                "certificate.expired",
            ]
        ]
        | Omit = OMIT,
        enabled: bool | Omit = OMIT,
    ) -> models.ChangedWebhook:
        """Change a webhook's URL or events, or enable or disable it.

        A secret is valid for one host: for a URL with another host a new secret is made and
        shown.

        Needs an API key with the role `admin`.

        Args:
            webhook_id: Id of the webhook.
            url: Address that the messages are sent to.
            events: Kinds of events that are sent.
            enabled: False if no messages are sent.
        """
        return await self._call(
            Call[models.ChangedWebhook](
                "webhook.update",
                models.ChangedWebhook,
                "POST",
                {"webhookId": webhook_id, "url": url, "events": events, "enabled": enabled},
            )
        )

    async def remove(self, webhook_id: str) -> models.Webhook:
        """Remove a webhook and its messages; return the removed webhook.

        Needs an API key with the role `admin`.

        Args:
            webhook_id: Id of the webhook.
        """
        return await self._call(
            Call[models.Webhook](
                "webhook.remove", models.Webhook, "POST", {"webhookId": webhook_id}
            )
        )

    async def deliveries(
        self, webhook_id: str, *, limit: int | Omit = OMIT
    ) -> list[models.WebhookDelivery]:
        """List a webhook's messages, the newest first.

        Messages are stored as long as the events of jobs.

        Needs an API key of any role.

        Args:
            webhook_id: Id of the webhook.
            limit: Largest number of items in the answer.
        """
        return await self._call(
            Call[list[models.WebhookDelivery]](
                "webhook.deliveries",
                list[models.WebhookDelivery],
                "GET",
                {"webhookId": webhook_id, "limit": limit},
            )
        )

    async def redeliver(self, delivery_id: str) -> models.WebhookDelivery:
        """Send a message again now, under its id, with as many attempts as a new one.

        Needs an API key with the role `member` or `admin`.

        Args:
            delivery_id: Id of the delivery.
        """
        return await self._call(
            Call[models.WebhookDelivery](
                "webhook.redeliver", models.WebhookDelivery, "POST", {"deliveryId": delivery_id}
            )
        )


class AsyncProcedures:
    """All procedures, by their nouns."""

    def __init__(self, caller: Caller) -> None:
        self.api_key = AsyncApiKeyProcedures(caller)
        self.application = AsyncApplicationProcedures(caller)
        self.audit_log = AsyncAuditLogProcedures(caller)
        self.build = AsyncBuildProcedures(caller)
        self.compose = AsyncComposeProcedures(caller)
        self.deploy_hook = AsyncDeployHookProcedures(caller)
        self.deployment = AsyncDeploymentProcedures(caller)
        self.environment = AsyncEnvironmentProcedures(caller)
        self.image = AsyncImageProcedures(caller)
        self.job = AsyncJobProcedures(caller)
        self.organization = AsyncOrganizationProcedures(caller)
        self.project = AsyncProjectProcedures(caller)
        self.registry = AsyncRegistryProcedures(caller)
        self.restore = AsyncRestoreProcedures(caller)
        self.rollback = AsyncRollbackProcedures(caller)
        self.sbom = AsyncSbomProcedures(caller)
        self.scan = AsyncScanProcedures(caller)
        self.scan_policy = AsyncScanPolicyProcedures(caller)
        self.server = AsyncServerProcedures(caller)
        self.settings = AsyncSettingsProcedures(caller)
        self.signature = AsyncSignatureProcedures(caller)
        self.signature_policy = AsyncSignaturePolicyProcedures(caller)
        self.signing_key = AsyncSigningKeyProcedures(caller)
        self.user = AsyncUserProcedures(caller)
        self.webhook = AsyncWebhookProcedures(caller)
