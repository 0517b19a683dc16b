"""One example per operation: a request, and the answer to it.

The tests send each request to the application on a real database, and read each answer as the
output of its procedure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.http.openapi.objects import (
    API_KEY,
    API_KEY_ID,
    APPLICATION,
    APPLICATION_ID,
    AUDIT_ENTRY,
    AUDIT_EXPORT,
    BUILD,
    BUILD_ID,
    CANCELLED_DEPLOYMENT,
    CANCELLED_ROTATION,
    CONTEXT,
    CREATED_KEY,
    DELIVERY,
    DELIVERY_ID,
    DEPLOY_HOOK,
    DEPLOYMENT,
    DEPLOYMENT_ID,
    DIGEST,
    DRAINED_SERVER,
    ENVIRONMENT,
    FINISHED_AT,
    HOOK_ID,
    IMAGE_REPORT,
    INSPECTED_IMAGE,
    INVITATION,
    INVITATION_ID,
    JOB,
    JOB_DETAIL,
    JOB_ID,
    JOIN_TOKEN,
    LISTED_MEMBER,
    MATRIX,
    MEMBER,
    MEMBER_ID,
    NEW_BUILD,
    NEW_DEPLOYMENT,
    NEW_JOB_ID,
    NEW_SERVER,
    ORGANIZATION,
    ORGANIZATION_ID,
    PACKAGE_MATCH,
    PATH_CHECK,
    PAUSED_SERVER,
    PROBE,
    PROJECT,
    QUEUED_DEPLOYMENT,
    QUOTAS,
    REGISTRY,
    REGISTRY_ID,
    REPOSITORY,
    REPOSITORY_LIST,
    RESTORED,
    ROLLBACK,
    ROLLBACK_ID,
    ROLLED_BACK_ROTATION,
    ROTATION,
    SCAN_POLICY,
    SERVER,
    SERVER_ID,
    SIGNATURE_POLICY,
    SIGNED,
    SIGNING_KEY,
    SIGNING_KEY_ID,
    STATISTICS,
    STOPPED_APPLICATION,
    TAG_LIST,
    USER_ID,
    VALIDATION,
    WEBHOOK,
    WEBHOOK_ID,
)


@dataclass(frozen=True)
class Example:
    """A request by its field names, and its answer."""

    request: Mapping[str, Any]
    answer: Any


ACCEPTED = {"jobId": JOB_ID}
LOGIN = {"registryUrl": "ghcr.io", "username": "acme-bot", "password": "a-personal-access-token"}
BY_REGISTRY = {"registryId": REGISTRY_ID}
BY_SERVER = {"serverId": SERVER_ID}
BY_APPLICATION = {"applicationId": APPLICATION_ID}
BY_BUILD = {"buildId": BUILD_ID}
BY_DEPLOYMENT = {"deploymentId": DEPLOYMENT_ID}
BY_WEBHOOK = {"webhookId": WEBHOOK_ID}
COMPOSE = "services:\n  web:\n    image: ghcr.io/acme/shop:1.4\n"
DEPLOYMENT_LOG = (
    "2026-07-01T09:00:00.000Z image.pull: queued\n2026-07-01T09:01:30.000Z image.pull: succeeded"
)
VERIFIER = f"SCRAM-SHA-256$4096:{'A' * 22}==${'A' * 43}=:{'A' * 43}="

EXAMPLES: Mapping[str, Example] = {
    "registry.create": Example(
        {"registryName": "GitHub Container Registry", **LOGIN, "imagePrefix": "acme"}, REGISTRY
    ),
    "registry.all": Example({}, [REGISTRY]),
    "registry.one": Example(BY_REGISTRY, REGISTRY | {"rotation": ROTATION}),
    "registry.update": Example(
        {**BY_REGISTRY, "password": "a-new-access-token", "imagePrefix": None}, answer=True
    ),
    "registry.remove": Example(BY_REGISTRY, REGISTRY),
    "registry.rotate": Example(
        {**BY_REGISTRY, "password": "a-new-access-token", "keepOldHours": 48}, ROTATION
    ),
    "registry.cancelRotation": Example(BY_REGISTRY, CANCELLED_ROTATION),
    "registry.rollbackCredential": Example(BY_REGISTRY, ROLLED_BACK_ROTATION),
    "registry.testRegistry": Example({**LOGIN, **BY_SERVER}, answer=True),
    "registry.testRegistryById": Example({**BY_REGISTRY, **BY_SERVER}, answer=True),
    "registry.diagnose": Example({**LOGIN, "imagePrefix": "acme"}, PROBE),
    "registry.testOnServers": Example(
        {"registryIds": [REGISTRY_ID], "serverIds": [SERVER_ID]}, MATRIX
    ),
    "registry.matrix": Example({**BY_REGISTRY, "history": 5}, MATRIX),
    "server.create": Example(
        {"name": "web-1", "description": "Frankfurt", "roles": ["build", "deploy"]},
        {**NEW_SERVER, "joinToken": JOIN_TOKEN, "caSha256": None},
    ),
    "server.createJoinToken": Example(
        BY_SERVER, {**BY_SERVER, "joinToken": JOIN_TOKEN, "caSha256": None}
    ),
    "server.all": Example({}, [SERVER]),
    "server.buildServers": Example({}, [SERVER]),
    "server.one": Example(BY_SERVER, SERVER),
    "server.update": Example({**BY_SERVER, "description": "Frankfurt"}, SERVER),
    "server.remove": Example(BY_SERVER, NEW_SERVER),
    "server.pause": Example({**BY_SERVER, "jobClass": "build"}, PAUSED_SERVER),
    "server.drain": Example(BY_SERVER, DRAINED_SERVER),
    "server.resume": Example({**BY_SERVER, "jobClass": "build"}, SERVER),
    "server.validate": Example(BY_SERVER, VALIDATION),
    "server.check": Example(BY_SERVER, PATH_CHECK),
    "server.enroll": Example(
        {
            "joinToken": JOIN_TOKEN,
            "publicKey": "CvAPuM4c6mZxU2qDWxWmYfWqAQ8tGB3T2fgSPcw3hX0=",
            "roleVerifier": VERIFIER,
        },
        {
            **BY_SERVER,
            "organizationId": ORGANIZATION_ID,
            "databaseUrl": "postgresql://db.example:5432/wharf",
            "brokerUrl": "rediss://broker.example:6379/0",
        },
    ),
    "server.isRemoved": Example(BY_SERVER, answer=False),
    "application.create": Example(
        {
            "name": "Shop",
            "appName": "shop",
            "customGitUrl": "https://git.example/acme/shop.git",
            "customGitBranch": "main",
            "buildRegistryId": REGISTRY_ID,
            "buildServerId": SERVER_ID,
            "serverIds": [SERVER_ID],
            "ports": [{"publishedPort": 80, "targetPort": 8080}],
        },
        {**APPLICATION, "envNames": [], "lastVersion": 0},
    ),
    "application.all": Example({}, [APPLICATION]),
    "application.one": Example(BY_APPLICATION, APPLICATION),
    "application.update": Example(
        {
            **BY_APPLICATION,
            "healthCheck": {"command": ["curl", "-f", "http://localhost:8080/"], "retries": 5},
            "rolloutBatch": 1,
            "rolloutOnFailure": "rollback",
        },
        answer=True,
    ),
    "application.remove": Example(BY_APPLICATION, APPLICATION),
    "application.saveGitProvider": Example(
        {
            **BY_APPLICATION,
            "customGitUrl": "https://git.example/acme/shop.git",
            "customGitBranch": "main",
        },
        answer=True,
    ),
    "application.generateDeployKey": Example(
        BY_APPLICATION,
        {
            **BY_APPLICATION,
            "host": "git.example",
            "publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx3tsGyPjCpXNzbh3RVEYAcWLPQ7DBsuyg"
            "Y9fHJuO6x wharfinger",
            "fingerprint": "SHA256:1pA2E1JHEaVBWkLbmF4D0wFXGXjqWKEzkMLV0YpHfXY",
        },
    ),
    "application.saveDockerProvider": Example(
        {**BY_APPLICATION, "dockerImage": "ghcr.io/acme/shop:1.4", **BY_REGISTRY}, answer=True
    ),
    "application.saveBuildType": Example(
        {**BY_APPLICATION, "buildType": "dockerfile", "dockerBuildStage": "release"}, answer=True
    ),
    "application.saveEnvironment": Example(
        {**BY_APPLICATION, "env": "DATABASE_URL=postgresql://db.example/shop"}, answer=True
    ),
    "application.uploadContext": Example(BY_APPLICATION, CONTEXT),
    "application.build": Example(
        {**BY_APPLICATION, "tag": "1.4", "branch": "main", "title": "Release 1.4"}, NEW_BUILD
    ),
    "build.one": Example(BY_BUILD, BUILD),
    "build.all": Example({**BY_APPLICATION, "limit": 10}, [BUILD]),
    "build.cancel": Example(BY_BUILD, {**BUILD, "state": "cancelled", "digest": None}),
    "application.deploy": Example(
        {**BY_APPLICATION, "tag": "1.4", "title": "Release 1.4"}, NEW_DEPLOYMENT
    ),
    "application.redeploy": Example({**BY_APPLICATION, "title": "Release 1.4"}, NEW_DEPLOYMENT),
    "application.cancelDeployment": Example(BY_APPLICATION, [CANCELLED_DEPLOYMENT]),
    "application.stop": Example(BY_APPLICATION, STOPPED_APPLICATION),
    "application.start": Example(
        BY_APPLICATION, {**STOPPED_APPLICATION, "applicationStatus": "done"}
    ),
    "application.reload": Example(
        BY_APPLICATION, {**STOPPED_APPLICATION, "applicationStatus": "done"}
    ),
    "application.readLogs": Example(
        {**BY_APPLICATION, "tail": 2, "since": "10m"}, "2026-07-01T09:00:00.000000000Z ready"
    ),
    "deployment.one": Example(BY_DEPLOYMENT, DEPLOYMENT),
    "deployment.all": Example({**BY_APPLICATION, "limit": 10}, [DEPLOYMENT]),
    "deployment.allByServer": Example({**BY_SERVER, "limit": 10}, [DEPLOYMENT]),
    "deployment.cancel": Example(BY_DEPLOYMENT, CANCELLED_DEPLOYMENT),
    "deployment.readLogs": Example({**BY_DEPLOYMENT, "tail": 100}, DEPLOYMENT_LOG),
    "rollback.all": Example(BY_APPLICATION, [ROLLBACK]),
    "rollback.verify": Example(BY_APPLICATION, [ROLLBACK]),
    "rollback.rollback": Example(
        {"rollbackId": ROLLBACK_ID, "title": "Release 1.4"},
        {**NEW_DEPLOYMENT, "rollbackId": ROLLBACK_ID, "deploysRollbackId": ROLLBACK_ID},
    ),
    "rollback.delete": Example({"rollbackId": ROLLBACK_ID}, {**ROLLBACK, "offered": False}),
    "deployHook.create": Example(
        {**BY_APPLICATION, "tagFilter": "1.*"},
        {
            **DEPLOY_HOOK,
            "url": "/api/deploy/EXAMPLE-deploy-hook-token",
            "secret": "whsec_EXAMPLE",
        },
    ),
    "deployHook.all": Example(BY_APPLICATION, [DEPLOY_HOOK]),
    "deployHook.remove": Example({"hookId": HOOK_ID}, DEPLOY_HOOK),
    "image.pull": Example(
        {"image": "ghcr.io/acme/shop:1.4", **BY_REGISTRY, **BY_SERVER},
        {**ACCEPTED, "joined": False},
    ),
    "image.push": Example(
        {"image": "shop:1.4", **BY_REGISTRY, **BY_SERVER, "name": "acme/shop", "tag": "1.4"},
        ACCEPTED,
    ),
    "image.copy": Example(
        {"image": "quay.io/acme/shop:1.4", **BY_REGISTRY, "name": "acme/shop", "tag": "1.4"},
        ACCEPTED,
    ),
    "image.inspect": Example({"image": f"{REPOSITORY}:1.4", **BY_SERVER}, INSPECTED_IMAGE),
    "image.tags": Example({**BY_REGISTRY, "repository": "myorg/shop", "limit": 2}, TAG_LIST),
    "image.repositories": Example(BY_REGISTRY, REPOSITORY_LIST),
    "image.tag": Example(
        {"source": "shop:1.4", "target": "ghcr.io/acme/shop:1.4", **BY_SERVER},
        {
            "reference": f"{REPOSITORY}:1.4",
            "digest": None,
            "imageId": DIGEST,
            "sizeBytes": None,
            "verifiedBy": None,
        },
    ),
    "signature.sign": Example(
        {"image": SIGNED["reference"], **BY_REGISTRY, "signingKeyId": SIGNING_KEY_ID},
        {**SIGNED, "attached": [DIGEST]},
    ),
    "signature.verify": Example(
        {"image": SIGNED["reference"]},
        {
            "reference": SIGNED["reference"],
            "digest": DIGEST,
            "verified": False,
            "proofs": [],
            "violations": [
                {
                    "code": "signature_missing",
                    "message": f"{DIGEST} has no signature by {SIGNING_KEY['fingerprint']}",
                }
            ],
            "gaps": [],
        },
    ),
    "signaturePolicy.one": Example({"applicationId": APPLICATION_ID}, SIGNATURE_POLICY),
    "signaturePolicy.set": Example(
        {
            "applicationId": APPLICATION_ID,
            "mode": "enforce",
            "signingKeyIds": [SIGNING_KEY_ID],
            "predicateTypes": ["https://spdx.dev/Document"],
            "baseRegistries": SIGNATURE_POLICY["baseRegistries"],
            "publishers": SIGNATURE_POLICY["publishers"],
        },
        SIGNATURE_POLICY,
    ),
    "signingKey.create": Example({"name": "release"}, SIGNING_KEY),
    "signingKey.all": Example({}, [SIGNING_KEY]),
    "signingKey.one": Example({"signingKeyId": SIGNING_KEY_ID}, SIGNING_KEY),
    "signingKey.retire": Example(
        {"signingKeyId": SIGNING_KEY_ID}, {**SIGNING_KEY, "retiredAt": FINISHED_AT}
    ),
    "signingKey.remove": Example({"signingKeyId": SIGNING_KEY_ID}, SIGNING_KEY),
    "scanPolicy.one": Example({"applicationId": APPLICATION_ID}, SCAN_POLICY),
    "scanPolicy.set": Example(
        {
            "applicationId": APPLICATION_ID,
            "sbom": "spdx",
            "mode": "enforce",
            "exceptions": SCAN_POLICY["exceptions"],
        },
        SCAN_POLICY,
    ),
    "scan.run": Example({"image": SIGNED["reference"], **BY_REGISTRY}, ACCEPTED),
    "scan.one": Example({"digest": DIGEST}, IMAGE_REPORT),
    "sbom.packages": Example(
        {"digest": DIGEST}, [{"type": "deb", "name": "openssl", "version": "3.0.15-1~deb12u1"}]
    ),
    "sbom.search": Example(
        {"name": "openssl", "below": "3.0.16"},
        {"matches": [PACKAGE_MATCH], "leftOut": 0, "applicationsWithoutSbom": 0},
    ),
    "compose.pull": Example({"composeFile": COMPOSE, **BY_SERVER}, ACCEPTED),
    "job.all": Example(
        {"limit": 50, "state": "succeeded"},
        {"jobs": [{**JOB, "waiting": None}], "nextCursor": JOB_ID},
    ),
    "job.one": Example({"jobId": JOB_ID}, JOB_DETAIL),
    "job.cancel": Example({"jobId": JOB_ID}, {"state": "cancelled"}),
    "job.retry": Example({"jobId": JOB_ID}, {"jobId": NEW_JOB_ID, "retryOf": JOB_ID}),
    "webhook.create": Example(
        {"url": "https://hooks.example/wharfinger", "events": ["build.ended", "deployment.ended"]},
        {**WEBHOOK, "secret": "whsec_EXAMPLE"},
    ),
    "webhook.all": Example({}, [WEBHOOK]),
    "webhook.one": Example(BY_WEBHOOK, WEBHOOK),
    "webhook.update": Example(
        {**BY_WEBHOOK, "enabled": False}, {**WEBHOOK, "enabled": False, "secret": None}
    ),
    "webhook.remove": Example(BY_WEBHOOK, WEBHOOK),
    "webhook.deliveries": Example({**BY_WEBHOOK, "limit": 20}, [DELIVERY]),
    "webhook.redeliver": Example(
        {"deliveryId": DELIVERY_ID},
        {
            **DELIVERY,
            "state": "pending",
            "attempts": 0,
            "status": None,
            "dueAt": "2026-07-01T09:02:00.000Z",
            "deliveredAt": None,
        },
    ),
    "apiKey.create": Example(
        {
            "name": "pipeline",
            "role": "member",
            "procedures": ["application.deploy", "deployment.*"],
            "networks": ["198.51.100.0/24"],
            "expiresInSeconds": 2592000,
        },
        {
            **API_KEY,
            "procedures": ["application.deploy", "deployment.*"],
            "networks": ["198.51.100.0/24"],
            "expiresAt": "2026-07-31T09:00:00.000Z",
            "key": "wharf_EXAMPLE-key",
        },
    ),
    "apiKey.all": Example({}, [API_KEY]),
    "apiKey.remove": Example({"apiKeyId": API_KEY["apiKeyId"]}, API_KEY),
    "organization.settings": Example({}, ORGANIZATION),
    "organization.quotas": Example({}, QUOTAS),
    "organization.updateSettings": Example({"rotateAfterDays": 60}, ORGANIZATION),
    "user.get": Example({}, MEMBER),
    "user.all": Example({}, [LISTED_MEMBER]),
    "user.remove": Example({"userId": USER_ID}, True),  # noqa: FBT003 - the answer
    "user.createPasswordReset": Example(
        {"userId": USER_ID},
        {
            "resetId": INVITATION_ID,
            "userId": USER_ID,
            "expiresAt": "2026-07-01T10:00:00.000Z",
            "path": "/console/reset/whr_EXAMPLE-of-a-link-that-is-shown-only-once",
        },
    ),
    "organization.inviteMember": Example(
        {"email": "ada@example.com", "role": "member"},
        {**INVITATION, "path": "/console/join/whi_EXAMPLE-of-a-link-that-is-shown-only-once"},
    ),
    "organization.allInvitations": Example({}, [INVITATION]),
    "organization.removeInvitation": Example(
        {"invitationId": INVITATION_ID},
        True,  # noqa: FBT003 - the answer
    ),
    "organization.updateMemberNetworks": Example(
        {"memberId": MEMBER_ID, "networks": ["198.51.100.0/24"]},
        True,  # noqa: FBT003 - the answer
    ),
    "organization.updateMemberRole": Example(
        {"memberId": MEMBER_ID, "role": "admin"},
        True,  # noqa: FBT003 - the answer
    ),
    "job.statistics": Example({"hours": 24}, STATISTICS),
    "auditLog.all": Example(
        {"action": "registry", "limit": 50}, {"entries": [AUDIT_ENTRY], "nextCursor": None}
    ),
    "auditLog.export": Example({"afterSequence": 0, "limit": 1000}, AUDIT_EXPORT),
    "application.search": Example(
        {"name": "shop", "limit": 20}, {"items": [APPLICATION], "total": 1}
    ),
    "application.delete": Example(BY_APPLICATION, APPLICATION),
    "application.killBuild": Example(BY_APPLICATION, [CANCELLED_DEPLOYMENT]),
    "deployment.allByType": Example({"id": APPLICATION_ID, "type": "application"}, [DEPLOYMENT]),
    "deployment.allCentralized": Example({}, [DEPLOYMENT]),
    "deployment.queueList": Example({}, [QUEUED_DEPLOYMENT]),
    "deployment.killProcess": Example(BY_DEPLOYMENT, CANCELLED_DEPLOYMENT),
    "project.all": Example({}, [PROJECT]),
    "project.one": Example({"projectId": ORGANIZATION_ID}, PROJECT),
    "environment.one": Example({"environmentId": ORGANIZATION_ID}, ENVIRONMENT),
    "environment.byProjectId": Example({"projectId": ORGANIZATION_ID}, [ENVIRONMENT]),
    "settings.health": Example({}, {"status": "ok"}),
    "settings.getDokployVersion": Example({}, "v0.30.7"),
    "settings.isCloud": Example({}, False),  # noqa: FBT003 - the answer
    "server.count": Example({}, 1),
    "user.createApiKey": Example(
        {"name": "pipeline", "metadata": {"organizationId": ORGANIZATION_ID}},
        {**CREATED_KEY, "role": "admin", "id": API_KEY_ID},
    ),
    "user.deleteApiKey": Example({"apiKeyId": API_KEY_ID}, True),  # noqa: FBT003 - the answer
    "restore.one": Example({}, RESTORED),
    "restore.resume": Example({}, {"resumed": 1}),
}

JOB_EVENTS = Example(
    {"jobId": JOB_ID, "lastEventId": 0},
    "retry: 1000\n\nid: 1\nevent: state\ndata: "
    '{"seq":1,"attempt":1,"kind":"state","state":"running","data":{},'
    '"at":"2026-07-01T09:00:01.000Z"}\n\n',
)
"""The example of the event stream; its answer is a text."""
