"""Probes of input fields: for each procedure a request, and for each field a change of it.

A change is expected to have an effect (another answer, another row), to be refused, or to be named
in the warnings. In values ``$name`` is something that the scene knows, ``{n}`` a new number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import trustme

from api.http.openapi.examples import EXAMPLES
from api.http.openapi.objects import DIGEST as EXAMPLE_DIGEST
from api.http.openapi.objects import ORGANIZATION_ID, REGISTRY_ID, SERVER_ID, SIGNING_KEY_ID


@dataclass(frozen=True)
class Change:
    """Another value of a field, and what it is expected to do."""

    value: Any
    expected: Literal["effect", "refused", "named"] = "effect"


@dataclass(frozen=True)
class Probe:
    """A good request; ``fresh`` is what is made anew for each call."""

    base: Mapping[str, Any]
    changes: Mapping[str, Any]
    fresh: tuple[str, ...] = ()


def refused(value: Any) -> Change:
    return Change(value, "refused")


def named(value: Any) -> Change:
    return Change(value, "named")


FORCED = named(value=True)
NOTHING = "nothing"
DIGEST = f"sha256:{'d' * 64}"
SCANNED = EXAMPLE_DIGEST
GIT, OTHER_GIT = "https://git.example/a.git", "https://git.example/b.git"
SSH_GIT = "git@git.example:a.git"
COMPOSE = "services:\n  web:\n    image: ghcr.io/a/b:1\n"
PORT = {"publishedPort": 80, "targetPort": 8080}
RUN = {
    "description": "other",
    "sourceType": "drop",
    "platform": "linux/arm64",
    "registryId": "$registry",
    "buildRegistryId": "$registry",
    "rollbackRegistryId": named("$registry"),
    "rollbackActive": named(value=True),
    "buildServerId": "$server",
    "serverIds": ["$server"],
    "healthCheck": {"command": ["true"]},
    "ports": [PORT],
    "mounts": [{"type": "volume", "mountPath": "/data", "volumeName": "data"}],
    "replicas": named(2),
    "runtime": "none",
    "stopSignal": "SIGINT",
    "stopGraceSeconds": 60,
    "rolloutBatch": 1,
    "rolloutOnFailure": "rollback",
    "rollbacksToKeep": named(3),
    "latestWins": False,
    "allowedKeys": ["$own_key"],
}
WAY = {
    "buildType": refused("nixpacks"),
    "dockerfile": "Other",
    "dockerContextPath": "below",
    "dockerBuildStage": "release",
}
VARIABLES = {"env": "A=1", "buildArgs": "A=1", "buildSecrets": "A=1"}
REPOSITORY = {
    "customGitUrl": OTHER_GIT,
    "customGitBranch": "other",
    "customGitCommit": "a" * 40,
    "customGitBuildPath": "/below",
    "customGitUsername": named("me"),
    "customGitToken": "secret",
    "customGitSSHKey": refused("no key"),
    "customGitHostKey": refused("no key"),
    "customGitSSHKeyId": refused("key"),
    "enableSubmodules": named(value=False),
}
INLINE_LOGIN = {
    "username": refused("me"),
    "password": refused("secret"),
    "registryUrl": refused("ghcr.io"),
}
ASKED = {
    "applicationId": NOTHING,
    "tag": "2.0",
    "contextId": NOTHING,
    "branch": "other",
    "commit": "a" * 40,
    "allowMissing": True,
    "title": "other",
}
ALLOWED = {"allowedServers": ["$server"], "allowedApplications": ["$kept"]}
LOGIN = {"registryUrl": "ghcr.io", "username": "me", "password": "secret"}
ECR_KEYS = {
    "kind": "ecr",
    "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
    "secretAccessKey": "not-a-real-secret",
}
TLS = {
    "caCertificate": trustme.CA().cert_pem.bytes().decode(),
    "clientCertificate": refused("a certificate"),
    "clientKey": refused("a key"),
    "plainHttp": True,
}
# The certificates of a stored registry count for tests of its host.
NOT_STORED = {**LOGIN, "registryUrl": "registry.gitlab.com"}
OTHER_LOGIN = {"registryUrl": "quay.io", "username": "you", "password": "longer secret"}
TESTED = {**OTHER_LOGIN, **TLS, "imagePrefix": "team", "serverId": NOTHING}
PROOF = {"joinToken": "$token", "publicKey": "$key", "roleVerifier": "$verifier"}
NAMED_IMAGE = {"image": "ghcr.io/a/other:1", "name": "other", "tag": "2", "serverId": NOTHING}

PROBES: dict[str, Probe] = {
    "registry.create": Probe(
        {"registryName": "probe", **LOGIN},
        {"registryName": "other", "registryType": "selfHosted", "imagePrefix": "team"}
        | {"rotateAfterDays": 30, "credential": refused(ECR_KEYS)}
        | {"installCa": True}
        | TLS
        | OTHER_LOGIN
        | ALLOWED,
    ),
    "registry.all": Probe({}, {}),
    "registry.one": Probe({"registryId": "$registry"}, {"registryId": NOTHING}),
    "registry.update": Probe(
        {"registryId": "$used_registry", "imagePrefix": "other", "force": True},
        {
            "registryId": NOTHING,
            "force": False,
            "registryName": "other",
            "registryUrl": "https://ghcr.io",
            "username": refused("you"),
            "password": "a longer secret",
            "credential": refused(ECR_KEYS),
            "imagePrefix": "team",
            "rotateAfterDays": 30,
            "installCa": True,
            **TLS,
            **ALLOWED,
        },
        ("registry", "used_registry"),
    ),
    "registry.remove": Probe(
        {"registryId": "$used_registry", "force": True},
        {"force": False, "registryId": NOTHING},
        ("registry", "used_registry"),
    ),
    "registry.rotate": Probe(
        {"registryId": "$registry", "password": "a new password"},
        {
            "registryId": NOTHING,
            "username": "you",
            "password": "a longer password",
            "credential": refused(ECR_KEYS),
            "force": True,
            "keepOldHours": 1,
        },
        ("registry",),
    ),
    "registry.cancelRotation": Probe(
        {"registryId": "$testing"}, {"registryId": NOTHING}, ("testing",)
    ),
    "registry.rollbackCredential": Probe(
        {"registryId": "$kept_login"}, {"registryId": NOTHING}, ("kept_login",)
    ),
    "registry.testRegistry": Probe(NOT_STORED, {**TESTED, "credential": refused(ECR_KEYS)}),
    "registry.testRegistryById": Probe(
        {"registryId": "$registry"}, {"registryId": NOTHING, "serverId": NOTHING}
    ),
    "registry.diagnose": Probe(
        NOT_STORED,
        {**TESTED, "registryId": refused("$registry"), "credential": refused(ECR_KEYS)},
    ),
    "registry.testOnServers": Probe({}, {"registryIds": ["$registry"], "serverIds": [NOTHING]}),
    "registry.matrix": Probe({}, {"registryId": NOTHING, "serverId": NOTHING, "history": 1}),
    "server.create": Probe(
        {"name": "probe-{n}"},
        {
            "name": "other-{n}",
            "description": "other",
            "ipAddress": "192.0.2.7",
            "roles": ["build"],
            "serverType": "build",
            "networks": ["10.0.0.0/8"],
        },
    ),
    "server.all": Probe({}, {}),
    "server.buildServers": Probe({}, {}),
    "server.one": Probe({"serverId": "$server"}, {"serverId": NOTHING}),
    "server.update": Probe(
        {"serverId": "$new_server"},
        {
            "serverId": NOTHING,
            "name": "other-{n}",
            "description": "other",
            "ipAddress": "192.0.2.7",
            "roles": ["build"],
            "serverType": "build",
            "networks": ["10.0.0.0/8"],
        },
        ("new_server",),
    ),
    "server.remove": Probe({"serverId": "$new_server"}, {"serverId": NOTHING}, ("new_server",)),
    "server.pause": Probe(
        {"serverId": "$new_server"},
        {"serverId": NOTHING, "jobClass": "quick"},
        ("new_server",),
    ),
    "server.drain": Probe({"serverId": "$new_server"}, {"serverId": NOTHING}, ("new_server",)),
    "server.resume": Probe(
        {"serverId": "$paused_server"},
        {"serverId": NOTHING, "jobClass": "quick"},
        ("paused_server",),
    ),
    "server.validate": Probe({"serverId": "$server"}, {"serverId": NOTHING}),
    "server.check": Probe({"serverId": "$server"}, {"serverId": NOTHING}),
    "server.createJoinToken": Probe(
        {"serverId": "$new_server"}, {"serverId": NOTHING}, ("new_server",)
    ),
    "server.isRemoved": Probe({"serverId": "$gone_server"}, {"serverId": NOTHING}),
    "server.enroll": Probe(
        PROOF,
        {
            "joinToken": NOTHING,
            "publicKey": "$other_key",
            "roleVerifier": "$other_verifier",
            "brokerPasswordHash": "0" * 64,
        },
        ("token",),
    ),
    "application.create": Probe(
        {"name": "probe-{n}"},
        {
            "name": "other-{n}",
            "appName": "other-{n}",
            "serverId": "$server",
            "dockerImage": "ghcr.io/a/b:1",
            "customGitUrl": GIT,
            "customGitBranch": refused("main"),
            "environmentId": named("other"),
        }
        | RUN,
    ),
    "application.all": Probe({}, {}),
    "application.one": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "application.update": Probe(
        {"applicationId": "$application"},
        {
            "applicationId": NOTHING,
            "name": "other-{n}",
            "appName": "other-{n}",
            "dockerImage": named("ghcr.io/a/b:1"),
            "healthCheckSwarm": {"Test": ["CMD", "true"]},
            "stopGracePeriodSwarm": 90_000_000_000,
            "environmentId": named("other"),
        }
        | RUN
        | {"buildRegistryId": None, "buildServerId": None, "serverIds": []}
        | WAY
        | VARIABLES
        | REPOSITORY
        | INLINE_LOGIN,
        ("application",),
    ),
    "application.remove": Probe(
        {"applicationId": "$application"}, {"applicationId": NOTHING}, ("application",)
    ),
    "application.saveGitProvider": Probe(
        {"applicationId": "$application", "customGitUrl": GIT},
        {"applicationId": NOTHING, **REPOSITORY},
        ("application",),
    ),
    "application.generateDeployKey": Probe(
        {"applicationId": "$ssh_application"}, {"applicationId": NOTHING}, ("ssh_application",)
    ),
    "application.saveDockerProvider": Probe(
        {"applicationId": "$application", "dockerImage": "ghcr.io/a/b:1"},
        {
            "applicationId": NOTHING,
            "dockerImage": "ghcr.io/a/b:2",
            "registryId": "$registry",
            **INLINE_LOGIN,
        },
        ("application",),
    ),
    "application.saveBuildType": Probe(
        {"applicationId": "$application", "buildType": "dockerfile"},
        {"applicationId": NOTHING, **WAY},
        ("application",),
    ),
    "application.saveEnvironment": Probe(
        {"applicationId": "$application"},
        {"applicationId": NOTHING, **VARIABLES},
        ("application",),
    ),
    "application.build": Probe({"applicationId": "$application"}, ASKED, ("application",)),
    "build.one": Probe({"buildId": "$build"}, {"buildId": NOTHING}),
    "build.all": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING, "limit": 1}),
    "build.cancel": Probe({"buildId": "$new_build"}, {"buildId": NOTHING}, ("new_build",)),
    "application.deploy": Probe(
        {"applicationId": "$application"},
        {**ASKED, "buildId": NOTHING, "description": "other"},
        ("application",),
    ),
    "application.redeploy": Probe(
        {"applicationId": "$kept"},
        {"applicationId": NOTHING, "title": "other", "description": "other"},
    ),
    "application.stop": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "application.start": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "application.reload": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "application.readLogs": Probe(
        {"applicationId": "$kept"},
        {"applicationId": NOTHING, "tail": refused(0)}
        | {"since": refused("1"), "search": refused("'")},
    ),
    "deployment.one": Probe({"deploymentId": "$deployment"}, {"deploymentId": NOTHING}),
    "deployment.all": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING, "limit": 1}),
    "deployment.allByServer": Probe({"serverId": "$server"}, {"serverId": NOTHING, "limit": 1}),
    "deployment.cancel": Probe(
        {"deploymentId": "$new_deployment"}, {"deploymentId": NOTHING}, ("new_deployment",)
    ),
    "application.cancelDeployment": Probe(
        {"applicationId": "$application"}, {"applicationId": NOTHING}, ("new_deployment",)
    ),
    "deployment.readLogs": Probe(
        {"deploymentId": "$deployment"}, {"deploymentId": NOTHING, "tail": 1}
    ),
    "rollback.all": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "rollback.verify": Probe({"applicationId": "$kept"}, {"applicationId": NOTHING}),
    "rollback.rollback": Probe(
        {"rollbackId": "$point"},
        {
            "rollbackId": NOTHING,
            "title": "other",
            "description": "other",
            "newestDeploymentId": NOTHING,
        },
    ),
    "rollback.delete": Probe({"rollbackId": "$point"}, {"rollbackId": NOTHING}, ("whole_point",)),
    "deployHook.create": Probe(
        {"applicationId": "$image_application"},
        {
            "applicationId": NOTHING,
            "tagFilter": "1.*",
            "branchFilter": named("main"),
            "pathFilters": named(["src/*"]),
            "requireSignature": False,
        },
    ),
    "deployHook.all": Probe({"applicationId": "$image_application"}, {"applicationId": NOTHING}),
    "deployHook.remove": Probe({"hookId": "$hook"}, {"hookId": NOTHING}, ("hook",)),
    "image.pull": Probe(
        {"image": "ghcr.io/a/probe-{n}:1"},
        {"image": "ghcr.io/a/other-{n}:1", "registryId": "$registry", "serverId": NOTHING},
    ),
    "image.push": Probe(
        {"image": "ghcr.io/a/b:1", "registryId": "$registry"},
        {**NAMED_IMAGE, "registryId": NOTHING},
    ),
    "image.copy": Probe(
        {"image": "quay.io/a/b:1", "registryId": "$registry"},
        {
            **NAMED_IMAGE,
            "image": "quay.io/a/other:1",
            "registryId": NOTHING,
            "sourceRegistryId": "$registry",
        },
    ),
    "image.tag": Probe(
        {"source": "a:1", "target": "b:1"},
        {"source": "c:1", "target": "d:1", "serverId": NOTHING},
    ),
    "image.inspect": Probe(
        {"image": "quay.io/a/b:1"},
        {"image": refused("quay.io/a/b:<"), "registryId": "$registry"}
        | {"applicationId": NOTHING, "serverId": NOTHING},
    ),
    "image.tags": Probe(
        {"registryId": "$registry", "repository": "myorg/a"},
        {"registryId": NOTHING, "repository": refused("other/b"), "serverId": NOTHING}
        | {"limit": refused(0), "after": refused(" ")},
    ),
    "image.repositories": Probe(
        {"registryId": "$registry"},
        {"registryId": NOTHING, "serverId": NOTHING} | {"limit": refused(0), "after": refused(" ")},
    ),
    "compose.pull": Probe(
        {"composeFile": COMPOSE},
        {
            "composeFile": COMPOSE.replace("b:1", "b:2"),
            "serverId": NOTHING,
            "registryIds": [],
            "envFile": "COMPOSE_PROFILES=debug",
            "profiles": ["debug"],
        },
    ),
    "job.all": Probe(
        {},
        {
            "limit": 1,
            "cursor": "$build",
            "state": "failed",
            "serverId": NOTHING,
            "kind": "compose.pull",
            "registryId": NOTHING,
            "applicationId": NOTHING,
        },
    ),
    "job.one": Probe({"jobId": "$build"}, {"jobId": NOTHING}),
    "job.cancel": Probe({"jobId": "$new_build"}, {"jobId": NOTHING}, ("new_build",)),
    "job.retry": Probe({"jobId": "$cancelled_pull"}, {"jobId": NOTHING}, ("cancelled_pull",)),
    "signature.sign": Probe(
        {"image": f"ghcr.io/a/b@{DIGEST}", "registryId": "$registry", "signingKeyId": "$signing"},
        {
            "image": f"ghcr.io/a/c@{DIGEST}",
            "registryId": NOTHING,
            "signingKeyId": NOTHING,
            "forms": ["tag"],
            "serverId": NOTHING,
        },
    ),
    "signature.verify": Probe(
        {"image": "ghcr.io/a/b:1", "signingKeyId": "$signing"},
        {
            "image": refused("ghcr.io/a/b:<"),
            "registryId": NOTHING,
            "applicationId": NOTHING,
            "signingKeyId": NOTHING,
            "serverId": NOTHING,
        },
    ),
    "signaturePolicy.one": Probe({"applicationId": "$application"}, {"applicationId": NOTHING}),
    "signaturePolicy.set": Probe(
        {"applicationId": "$application"},
        {
            "applicationId": NOTHING,
            "mode": "warn",
            "signingKeyIds": [NOTHING],
            "predicateTypes": ["https://spdx.dev/Document"],
            "baseRegistries": ["ghcr.io"],
            "publishers": [{"prefix": "docker.io/library", "signingKeyIds": [NOTHING]}],
            "inherit": True,
        },
        ("application",),
    ),
    "scanPolicy.one": Probe({"applicationId": "$application"}, {"applicationId": NOTHING}),
    "scanPolicy.set": Probe(
        {"applicationId": "$application"},
        {
            "applicationId": NOTHING,
            "sbom": "spdx",
            "mode": "warn",
            "maxSeverity": "low",
            "exceptions": [
                {"vulnerability": "CVE-1", "reason": "a", "until": "2027-01-31T00:00:00Z"}
            ],
            "inherit": True,
        },
        ("application",),
    ),
    "scan.run": Probe(
        {"image": f"ghcr.io/a/b@{DIGEST}"},
        {
            "image": f"ghcr.io/a/c@{DIGEST}",
            "registryId": NOTHING,
            "applicationId": NOTHING,
            "serverId": NOTHING,
            "sbom": "spdx",
            "attach": refused(value=True),
        },
    ),
    "scan.one": Probe({"digest": SCANNED}, {"digest": DIGEST}),
    "sbom.packages": Probe({"digest": SCANNED}, {"digest": DIGEST}),
    "sbom.search": Probe(
        {"name": "openssl"},
        {"name": "other", "below": "0.1", "applicationId": NOTHING},
    ),
    "signingKey.create": Probe(
        {"name": "probe-{n}"}, {"name": "other-{n}", "publicKey": refused("no key")}
    ),
    "signingKey.all": Probe({}, {}),
    "signingKey.one": Probe({"signingKeyId": "$signing"}, {"signingKeyId": NOTHING}),
    "signingKey.retire": Probe(
        {"signingKeyId": "$spare_signing"}, {"signingKeyId": NOTHING}, ("spare_signing",)
    ),
    "signingKey.remove": Probe(
        {"signingKeyId": "$spare_signing"}, {"signingKeyId": NOTHING}, ("spare_signing",)
    ),
    "webhook.create": Probe(
        {"url": "https://a.example/"},
        {"url": "https://b.example/", "events": ["build.ended"]},
    ),
    "webhook.all": Probe({}, {}),
    "webhook.one": Probe({"webhookId": "$webhook"}, {"webhookId": NOTHING}),
    "webhook.update": Probe(
        {"webhookId": "$webhook"},
        {
            "webhookId": NOTHING,
            "url": "https://b.example/",
            "events": ["build.ended"],
            "enabled": False,
        },
        ("webhook",),
    ),
    "webhook.remove": Probe({"webhookId": "$webhook"}, {"webhookId": NOTHING}, ("webhook",)),
    "webhook.deliveries": Probe({"webhookId": "$subscribed"}, {"webhookId": NOTHING, "limit": 1}),
    "webhook.redeliver": Probe({"deliveryId": "$delivery"}, {"deliveryId": NOTHING}, ("delivery",)),
    "apiKey.create": Probe(
        {"name": "probe"},
        {
            "name": "other",
            "role": "admin",
            "procedures": ["registry.*"],
            "networks": ["10.0.0.0/8"],
            "applicationIds": ["$kept"],
            "expiresInSeconds": 60,
        },
    ),
    "apiKey.all": Probe({}, {}),
    "organization.settings": Probe({}, {}),
    "organization.quotas": Probe({}, {}),
    "organization.updateSettings": Probe(
        {"rotateAfterDays": 90},
        {
            "rotateAfterDays": 30,
            "networks": ["127.0.0.0/8"],
            "serverNetworks": ["10.0.0.0/8"],
            "force": FORCED,
        },
    ),
    "user.get": Probe({}, {}),
    "user.all": Probe({}, {}),
    "user.remove": Probe({"userId": "$user"}, {"userId": NOTHING}, ("user",)),
    "user.createPasswordReset": Probe({"userId": "$user"}, {"userId": NOTHING}, ("user",)),
    "organization.inviteMember": Probe(
        {"email": "ada@example.com"}, {"email": "eve@example.com", "role": "viewer"}
    ),
    "organization.allInvitations": Probe({}, {}),
    "organization.removeInvitation": Probe(
        {"invitationId": "$invitation"}, {"invitationId": NOTHING}, ("invitation",)
    ),
    "organization.updateMemberNetworks": Probe(
        {"memberId": "$member", "networks": []},
        {"memberId": NOTHING, "networks": ["10.0.0.0/8"], "force": FORCED},
        ("user",),
    ),
    "organization.updateMemberRole": Probe(
        {"memberId": "$member", "role": "viewer"},
        {"memberId": NOTHING, "role": "admin"},
        ("user",),
    ),
    "job.statistics": Probe({}, {"hours": 1}),
    "auditLog.all": Probe(
        {},
        {
            "action": NOTHING,
            "objectId": NOTHING,
            "actorId": NOTHING,
            "cursor": "0",
            "limit": 1,
            "offset": 1,
        },
    ),
    "auditLog.export": Probe({}, {"afterSequence": refused(-1), "limit": refused(0)}),
    "application.search": Probe(
        {"q": "kept"},
        {
            **dict.fromkeys(("q", "name", "appName", "description", "dockerImage"), NOTHING),
            **dict.fromkeys(("repository", "owner", "projectId", "environmentId"), NOTHING),
            "limit": refused(0),
            "offset": 1,
        },
    ),
    "application.delete": Probe(
        {"applicationId": "$application"}, {"applicationId": NOTHING}, ("application",)
    ),
    "application.killBuild": Probe(
        {"applicationId": "$application"}, {"applicationId": NOTHING}, ("new_deployment",)
    ),
    "deployment.allByType": Probe(
        {"id": "$kept", "type": "application"}, {"id": NOTHING, "type": "compose"}
    ),
    "deployment.allCentralized": Probe({}, {}),
    "deployment.queueList": Probe({}, {}),
    "deployment.killProcess": Probe(
        {"deploymentId": "$new_deployment"}, {"deploymentId": NOTHING}, ("new_deployment",)
    ),
    "project.all": Probe({}, {}),
    "project.one": Probe({"projectId": "$organization"}, {"projectId": NOTHING}),
    "environment.one": Probe({"environmentId": "$organization"}, {"environmentId": NOTHING}),
    "environment.byProjectId": Probe({"projectId": "$organization"}, {"projectId": NOTHING}),
    "settings.health": Probe({}, {}),
    "settings.getDokployVersion": Probe({}, {}),
    "settings.isCloud": Probe({}, {}),
    "server.count": Probe({}, {}),
    "user.createApiKey": Probe(
        {"name": "probe", "metadata": {"organizationId": "$organization"}},
        {"name": "other", "metadata": {"organizationId": NOTHING}, "expiresIn": 60},
    ),
    "user.deleteApiKey": Probe({"apiKeyId": "$api_key"}, {"apiKeyId": NOTHING}, ("api_key",)),
    "restore.one": Probe({}, {}),
    "restore.resume": Probe({}, {}),
    "apiKey.remove": Probe({"apiKeyId": "$api_key"}, {"apiKeyId": NOTHING}, ("api_key",)),
}

OBJECTS = {
    SIGNING_KEY_ID: "$signing",
    REGISTRY_ID: "$registry",
    SERVER_ID: "$server",
    ORGANIZATION_ID: "$organization",
}
"""Objects of the scene in place of those that the documented examples name."""


def example_of(name: str) -> Probe:
    """The documented example of a procedure, about the objects that its probe is about.

    One about a used object is forced, as its probe.
    """
    probe = PROBES[name]
    chosen = {
        key: value
        for key, value in probe.base.items()
        if str(value).startswith("$") or key == "force"
    }
    return Probe({**_placed(dict(EXAMPLES[name].request)), **chosen}, {}, probe.fresh)


def _placed(value: Any) -> Any:
    match value:
        case str():
            return OBJECTS.get(value, value)
        case list():
            return [_placed(part) for part in value]
        case dict():
            return {key: _placed(part) for key, part in value.items()}
        case _:
            return value
