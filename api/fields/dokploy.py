"""Fields of Dokploy's that have no effect here, each with the reason in the answer."""

from collections.abc import Iterable

_OURS = "it is set here, by nobody else"
_NOT_HERE = "there is no such thing here"
_LIMITS = "containers run without limits of memory and CPU here"
_SWARM = "a service's settings for Swarm are runtime, replicas, ports and mounts here"
_SOURCE = "sources are git repositories by their URL, images and uploads here"
_PREVIEW = "there are no preview deployments here"
_BUILD = "it belongs to a way of building that is not here: builds use a Dockerfile"


def _all(names: str, reason: str) -> dict[str, str]:
    return {name: f"{name} has no effect: {reason}" for name in names.split()}


def _swarm(words: Iterable[str]) -> str:
    return " ".join(f"{word}Swarm" for word in words)


ROW = _all("createdAt organizationId", _OURS)

REGISTRY = {
    **ROW,
    **_all("registryType", "the type stays as it was stored, and changes nothing"),
    **_all("serverId", "a registry is not tested when it is stored; see registry.testRegistry"),
}
NEW_REGISTRY = _all(
    "serverId", "a registry is not tested when it is stored; see registry.testRegistry"
)
TESTED_REGISTRY = _all("registryType registryName", "a test depends on neither")

SERVER = {
    **ROW,
    **_all("ipAddress port username sshKeyId serverType", "a server's worker joins by itself"),
    **_all("command enableDockerCleanup metricsConfig", _NOT_HERE),
    **_all("appName serverStatus", _OURS),
}

NEW_APPLICATION = _all("environmentId", "applications are in no environments here")

APPLICATION = {
    **ROW,
    **NEW_APPLICATION,
    **_all("serverId", "the servers that it runs on are its serverIds"),
    **_all("applicationStatus refreshToken", _OURS),
    **_all("autoDeploy triggerType", "pushes are taken by a deploy hook, see deployHook.create"),
    **_all("cleanCache", "builds reuse what the Engine keeps"),
    **_all("memoryLimit memoryReservation cpuLimit cpuReservation", _LIMITS),
    **_all("healthCheckSwarm", "use healthCheck"),
    **_all(
        _swarm(("restartPolicy", "placement", "updateConfig", "rollbackConfig", "mode", "labels")),
        _SWARM,
    ),
    **_all(_swarm(("network", "stopGracePeriod", "endpointSpec", "ulimits")), _SWARM),
    **_all("command args entrypoint", "a container runs its image's own command"),
    **_all("title subtitle enabled icon dropBuildPath createEnvFile", _NOT_HERE),
    **_all("watchPaths", "every deployment that is asked for is carried out"),
    **_all("herokuVersion railpackVersion publishDirectory isStaticSpa", _BUILD),
    **_all("repository owner branch buildPath githubId", _SOURCE),
    **_all("gitlabId gitlabProjectId gitlabRepository gitlabOwner gitlabBranch", _SOURCE),
    **_all("gitlabBuildPath gitlabPathNamespace giteaId giteaRepository giteaOwner", _SOURCE),
    **_all("giteaBranch giteaBuildPath bitbucketId bitbucketRepository", _SOURCE),
    **_all("bitbucketRepositorySlug bitbucketOwner bitbucketBranch bitbucketBuildPath", _SOURCE),
    **_all("isPreviewDeploymentsActive previewEnv previewBuildArgs previewBuildSecrets", _PREVIEW),
    **_all("previewWildcard previewPort previewHttps previewPath previewCertificateType", _PREVIEW),
    **_all("previewCustomCertResolver previewLimit previewLabels", _PREVIEW),
    **_all("previewRequireCollaboratorPermissions", _PREVIEW),
}
BUILD_TYPE = _all("herokuVersion railpackVersion publishDirectory isStaticSpa", _BUILD)
ENVIRONMENT = _all("createEnvFile", "variables are given to the container, and to no file")
GIT = _all("watchPaths", "every deployment that is asked for is carried out")
BUILD = _all("description", "a build has a title alone")
