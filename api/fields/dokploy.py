"""Dokploy's fields that have no effect here, each with the reason for the answer's warning."""

from collections.abc import Iterable

_READ_ONLY = "it is set by Wharfinger only"
_NOT_HERE = "Wharfinger does not have this"
_LIMITS = "containers run without memory and CPU limits"
_SWARM = "a service's settings for Swarm are runtime, replicas, ports and mounts"
_SOURCE = "sources are git repositories by their URL, images and uploads"
_PREVIEW = "there are no preview deployments"
_BUILD = "builds use a Dockerfile"


def _all(names: str, reason: str) -> dict[str, str]:
    return {name: f"{name} has no effect: {reason}" for name in names.split()}


def _swarm(words: Iterable[str]) -> str:
    return " ".join(f"{word}Swarm" for word in words)


ROW = _all("createdAt organizationId", _READ_ONLY)

REGISTRY = {
    **ROW,
    **_all("registryType", "the type does not change, and nothing depends on it"),
    **_all("serverId", "a registry is not tested when it is stored; see registry.testRegistry"),
}
NEW_REGISTRY = _all(
    "serverId", "a registry is not tested when it is stored; see registry.testRegistry"
)
TESTED_REGISTRY = _all("registryType registryName", "a test does not depend on it")

SERVER = {
    **ROW,
    **_all("port username sshKeyId", "a server's worker joins with a token"),
    **_all("command enableDockerCleanup metricsConfig", _NOT_HERE),
    **_all("appName serverStatus", _READ_ONLY),
}

APPLICATION = {
    **ROW,
    **_all("serverId", "an application runs on its serverIds"),
    **_all("applicationStatus refreshToken", _READ_ONLY),
    **_all(
        "autoDeploy triggerType", "deployments on a push need a deploy hook, see deployHook.create"
    ),
    **_all("cleanCache", "builds always use the Engine's build cache"),
    **_all("memoryLimit memoryReservation cpuLimit cpuReservation", _LIMITS),
    **_all(
        _swarm(("restartPolicy", "placement", "updateConfig", "rollbackConfig", "mode", "labels")),
        _SWARM,
    ),
    **_all(_swarm(("network", "endpointSpec", "ulimits")), _SWARM),
    **_all("command args entrypoint", "a container runs its image's own command"),
    **_all("networkIds detachDokployNetwork", "Wharfinger manages no networks"),
    **_all("title subtitle enabled icon dropBuildPath createEnvFile", _NOT_HERE),
    **_all("watchPaths", "every requested deployment is carried out"),
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
RELOADED_APPLICATION = _all("appName", "the application is that of applicationId")
BUILD_TYPE = _all("herokuVersion railpackVersion publishDirectory isStaticSpa", _BUILD)
ENVIRONMENT = _all(
    "createEnvFile", "variables are passed to the container, never written to a file"
)
GIT = _all("watchPaths", "every requested deployment is carried out")
API_KEY = {
    **_all("prefix", "every key begins alike"),
    **_all(
        "rateLimitEnabled rateLimitTimeWindow rateLimitMax",
        "the limit is WHARF_API_RATE_PER_MINUTE",
    ),
    **_all("remaining refillAmount refillInterval", "keys are not used up"),
}
BUILD = _all("description", "a build has only a title")
