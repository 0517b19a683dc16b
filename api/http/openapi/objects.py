"""Objects that the examples of the OpenAPI document answer with. Nothing in them is secret."""

from typing import Any

Example = dict[str, Any]

ORGANIZATION_ID = "0197c1e4-0a00-7000-8000-000000000001"
API_KEY_ID = "0197c1e4-0a00-7000-8000-000000000002"
REGISTRY_ID = "0197c1e4-0a00-7000-8000-000000000003"
SERVER_ID = "0197c1e4-0a00-7000-8000-000000000004"
APPLICATION_ID = "0197c1e4-0a00-7000-8000-000000000005"
BUILD_ID = "0197c1e4-0a00-7000-8000-000000000006"
DEPLOYMENT_ID = "0197c1e4-0a00-7000-8000-000000000007"
ROLLBACK_ID = "0197c1e4-0a00-7000-8000-000000000008"
JOB_ID = "0197c1e4-0a00-7000-8000-000000000009"
NEW_JOB_ID = "0197c1e4-0a00-7000-8000-00000000000f"
WEBHOOK_ID = "0197c1e4-0a00-7000-8000-00000000000a"
DELIVERY_ID = "0197c1e4-0a00-7000-8000-00000000000b"
HOOK_ID = "0197c1e4-0a00-7000-8000-00000000000c"
CONTEXT_ID = "0197c1e4-0a00-7000-8000-00000000000d"
PUSH_JOB_ID = "0197c1e4-0a00-7000-8000-00000000000e"
PULL_JOB_ID = "0197c1e4-0a00-7000-8000-00000000000f"
REPLACE_JOB_ID = "0197c1e4-0a00-7000-8000-000000000010"
ROTATION_ID = "0197c1e4-0a00-7000-8000-000000000011"
USER_ID = "0197c1e4-0a00-7000-8000-000000000012"
MEMBER_ID = "0197c1e4-0a00-7000-8000-000000000013"
INVITATION_ID = "0197c1e4-0a00-7000-8000-000000000014"
SIGNING_KEY_ID = "0197c1e4-0a00-7000-8000-000000000015"

CREATED_AT = "2026-07-01T09:00:00.000Z"
STARTED_AT = "2026-07-01T09:00:01.000Z"
FINISHED_AT = "2026-07-01T09:01:30.000Z"
DIGEST = f"sha256:{'4f' * 32}"
REPOSITORY = "ghcr.io/acme/shop"

REGISTRY: Example = {
    "registryId": REGISTRY_ID,
    "registryName": "GitHub Container Registry",
    "imagePrefix": "acme",
    "username": "acme-bot",
    "registryUrl": "ghcr.io",
    "createdAt": CREATED_AT,
    "registryType": "cloud",
    "organizationId": ORGANIZATION_ID,
    "allowedServers": [],
    "allowedApplications": [],
    "provider": "ghcr",
    "passwordChangedAt": CREATED_AT,
    "passwordExpiresAt": None,
    "passwordDueAt": "2026-09-29T09:00:00.000Z",
    "rotateAfterDays": None,
    "credential": None,
    "credentialError": None,
    "quota": None,
    "caCertificates": [],
    "clientIdentity": None,
    "installCa": False,
    "plainHttp": False,
    "login": {
        "state": "accepted",
        "lastUsedAt": FINISHED_AT,
        "lastUsedJobId": PULL_JOB_ID,
        "lastUsedServerId": SERVER_ID,
        "lastAcceptedAt": STARTED_AT,
        "refusals": [],
    },
    "usedBy": {
        "applications": [
            {"applicationId": APPLICATION_ID, "name": "shop", "uses": ["pull", "build"]}
        ],
        "rollbackPoints": 3,
        "deployHooks": 1,
    },
}
ROTATION: Example = {
    "rotationId": ROTATION_ID,
    "state": "switched",
    "forced": False,
    "tests": [
        {
            "serverId": SERVER_ID,
            "serverName": "web-1",
            "state": "passed",
            "jobId": JOB_ID,
            "code": None,
            "message": None,
            "remedy": None,
        }
    ],
    "error": None,
    "jobsWithOldLogin": 0,
    "createdAt": CREATED_AT,
    "switchedAt": STARTED_AT,
    "keptUntil": "2026-07-02T09:00:01.000Z",
    "finishedAt": None,
}
CANCELLED_ROTATION: Example = {
    **ROTATION,
    "state": "cancelled",
    "switchedAt": None,
    "keptUntil": None,
    "finishedAt": STARTED_AT,
}
ROLLED_BACK_ROTATION: Example = {**ROTATION, "state": "rolled_back", "finishedAt": FINISHED_AT}
REGISTRY_CHECK: Example = {
    "jobId": JOB_ID,
    "state": "succeeded",
    "code": None,
    "stage": None,
    "remedy": None,
    "milliseconds": 412.0,
    "checkedAt": FINISHED_AT,
}
MATRIX: Example = {
    "cells": [
        {
            **REGISTRY_CHECK,
            "registryId": REGISTRY_ID,
            "registryName": "GitHub Container Registry",
            "plainHttp": False,
            "serverId": SERVER_ID,
            "serverName": "web-1",
            "history": [],
        }
    ],
    "differences": [
        "GitHub Container Registry works from web-1, not from web-2: web-2 does not trust the CA."
    ],
}
STAGE: Example = {
    "stage": "dns",
    "outcome": "ok",
    "code": None,
    "milliseconds": 3.1,
    "evidence": "ghcr.io has the address 140.82.121.33",
    "remedy": "",
    "retryAfterSeconds": None,
}
PROBE: Example = {
    "host": "ghcr.io",
    "repository": "acme/probe",
    "stages": [
        STAGE,
        {
            **STAGE,
            "stage": "auth",
            "outcome": "failed",
            "code": "auth_bad_credentials",
            "milliseconds": 120.4,
            "evidence": "the token server answered 401",
            "remedy": "Check that the username and password are correct.",
        },
    ],
    "verified": ["the host is a registry"],
    "notVerified": ["the login is valid"],
    "excess": [],
}
SERVER: Example = {
    "serverId": SERVER_ID,
    "name": "web-1",
    "description": "Frankfurt",
    "roles": ["build", "deploy"],
    "createdAt": CREATED_AT,
    "organizationId": ORGANIZATION_ID,
    "online": True,
    "approvedAt": STARTED_AT,
    "seenAt": FINISHED_AT,
    "offlineSince": None,
    "workerVersion": "0.1.0",
    "clockAheadSeconds": 0.01,
    "platform": "linux/amd64",
    "kinds": ["image.pull@1", "container.replace@1"],
    "quickLimit": 16,
    "transferLimit": 4,
    "buildLimit": 2,
    "draining": False,
    "pausedAt": None,
    "pausedClasses": [],
    "drainRequestedAt": None,
    "engine": {"engineVersion": "28.0.0", "os": "linux", "architecture": "amd64"},
    "secondWorkerAt": None,
    "serverType": "deploy",
    "serverStatus": "active",
    "ipAddress": "192.0.2.10",
    "networks": [],
    "port": None,
    "sshKeyId": None,
}
NEW_SERVER: Example = {
    **SERVER,
    **dict.fromkeys(("approvedAt", "seenAt", "workerVersion", "clockAheadSeconds", "platform")),
    "online": False,
    "serverStatus": "inactive",
    "kinds": [],
    "engine": None,
}
JOIN_TOKEN = "wharf_join_EXAMPLE-join-token-that-is-not-valid"  # noqa: S105 - an example
PAUSED_SERVER: Example = {**SERVER, "pausedAt": FINISHED_AT, "pausedClasses": ["build"]}
DRAINED_SERVER: Example = {
    **SERVER,
    "pausedAt": FINISHED_AT,
    "pausedClasses": ["build", "quick", "transfer"],
    "drainRequestedAt": FINISHED_AT,
}
VALIDATION: Example = {
    "serverId": SERVER_ID,
    "isGood": False,
    "checks": [
        {"name": "online", "isGood": True, "found": "online", "remedy": ""},
        {
            "name": "disk",
            "isGood": False,
            "found": "2 GiB of 80 GiB are free",
            "remedy": "Remove unused images: docker image prune -a.",
        },
    ],
}
PATH_CHECK: Example = {
    "serverId": SERVER_ID,
    "jobId": JOB_ID,
    "isGood": True,
    "parts": [
        {
            "name": "database",
            "isGood": True,
            "milliseconds": None,
            "found": "stored the job",
            "remedy": "",
        },
        {
            "name": "engine",
            "isGood": True,
            "milliseconds": 12.5,
            "found": "Docker Engine 28.0.0",
            "remedy": "",
        },
    ],
}
APPLICATION: Example = {
    "applicationId": APPLICATION_ID,
    "name": "Shop",
    "appName": "shop",
    "description": "",
    "sourceType": "git",
    "dockerImage": None,
    "customGitUrl": "https://git.example/acme/shop.git",
    "customGitBranch": "main",
    "customGitCommit": None,
    "customGitBuildPath": "/",
    "customGitUsername": None,
    "hasCustomGitToken": False,
    "customGitSSHPublicKey": None,
    "customGitSSHFingerprint": None,
    "customGitHostKey": None,
    "buildType": "dockerfile",
    "dockerfile": "Dockerfile",
    "dockerContextPath": ".",
    "dockerBuildStage": None,
    "buildArgs": "",
    "buildSecretNames": [],
    "envNames": ["DATABASE_URL"],
    "platform": None,
    "registryId": None,
    "buildRegistryId": REGISTRY_ID,
    "rollbackRegistryId": None,
    "rollbackActive": False,
    "buildServerId": SERVER_ID,
    "serverId": SERVER_ID,
    "serverIds": [SERVER_ID],
    "healthCheck": None,
    "ports": [
        {"publishedPort": 80, "targetPort": 8080, "protocol": "tcp", "publishMode": "ingress"}
    ],
    "mounts": [],
    "replicas": 1,
    "runtime": "container",
    "stopSignal": None,
    "stopGraceSeconds": 10,
    "rolloutBatch": 0,
    "rolloutOnFailure": "stop",
    "rollbacksToKeep": 10,
    "latestWins": True,
    "allowedKeys": [],
    "lastVersion": 7,
    "applicationStatus": "done",
    "environmentId": ORGANIZATION_ID,
    "createdAt": CREATED_AT,
    "organizationId": ORGANIZATION_ID,
}
STOPPED_APPLICATION: Example = {
    **APPLICATION,
    "applicationStatus": "idle",
    "jobId": JOB_ID,
    "servers": [{"serverId": SERVER_ID, "jobId": JOB_ID, "state": "succeeded", "changed": True}],
}
CONTEXT: Example = {"contextId": CONTEXT_ID, "sizeBytes": 10240, "sha256": "4f" * 32}
BUILD: Example = {
    "buildId": BUILD_ID,
    "applicationId": APPLICATION_ID,
    "version": 7,
    "title": "Release 1.4",
    "state": "succeeded",
    "reference": f"{REPOSITORY}:1.4",
    "retained": None,
    "digest": DIGEST,
    "revision": "9fceb02d0ae598e95dc970b74767f19372d61af8",
    "error": None,
    "jobIds": [BUILD_ID, PUSH_JOB_ID],
    "createdAt": CREATED_AT,
    "finishedAt": FINISHED_AT,
    "imageDeletedAt": None,
    "scan": None,
}
NEW_BUILD: Example = {
    "jobId": BUILD_ID,
    **BUILD,
    "state": "queued",
    **dict.fromkeys(("digest", "revision", "finishedAt")),
}
DEPLOYED_SERVER: Example = {
    "serverId": SERVER_ID,
    "state": "succeeded",
    "error": None,
    "containerId": "8f0c5b1c2d9e",
    "gapSeconds": 0.4,
    "jobIds": [PULL_JOB_ID, REPLACE_JOB_ID],
}
DEPLOYMENT: Example = {
    "deploymentId": DEPLOYMENT_ID,
    "applicationId": APPLICATION_ID,
    "buildId": BUILD_ID,
    "rollbackId": None,
    "deploysRollbackId": None,
    "rollsBack": None,
    "title": "Release 1.4",
    "description": "",
    "state": "succeeded",
    "status": "done",
    "reference": f"{REPOSITORY}@{DIGEST}",
    "digest": DIGEST,
    "error": None,
    "errorMessage": None,
    "servers": [DEPLOYED_SERVER],
    "createdAt": CREATED_AT,
    "startedAt": CREATED_AT,
    "finishedAt": FINISHED_AT,
}
NEW_DEPLOYMENT: Example = {
    "jobId": DEPLOYMENT_ID,
    **DEPLOYMENT,
    "state": "queued",
    "status": "running",
    "startedAt": None,
    "finishedAt": None,
    "servers": [
        {**DEPLOYED_SERVER, "state": "queued", "containerId": None, "gapSeconds": None},
    ],
}
CANCELLED_DEPLOYMENT: Example = {
    **DEPLOYMENT,
    "state": "cancelled",
    "status": "cancelled",
    "servers": [
        {**DEPLOYED_SERVER, "state": "cancelled", "containerId": None, "gapSeconds": None},
    ],
}
ROLLBACK: Example = {
    "rollbackId": ROLLBACK_ID,
    "applicationId": APPLICATION_ID,
    "deploymentId": DEPLOYMENT_ID,
    "buildId": BUILD_ID,
    "version": 7,
    "reference": f"{REPOSITORY}@{DIGEST}",
    "digest": DIGEST,
    "registryId": REGISTRY_ID,
    "offered": True,
    "error": None,
    "isRunning": True,
    "verifiedAt": FINISHED_AT,
    "usedAt": FINISHED_AT,
    "createdAt": FINISHED_AT,
}
DEPLOY_HOOK: Example = {
    "hookId": HOOK_ID,
    "applicationId": APPLICATION_ID,
    "tagFilter": "1.*",
    "branchFilter": None,
    "pathFilters": [],
    "requireSignature": True,
    "createdAt": CREATED_AT,
    "lastUsedAt": None,
}
JOB: Example = {
    "jobId": JOB_ID,
    "organizationId": ORGANIZATION_ID,
    "serverId": SERVER_ID,
    "registryId": REGISTRY_ID,
    "kind": "image.pull",
    "state": "succeeded",
    "priority": 2,
    "command": {"reference": f"{REPOSITORY}:1.4", "registryId": REGISTRY_ID},
    "attempt": 1,
    "failures": 0,
    "maxFailures": 3,
    "progress": None,
    "result": {"reference": f"{REPOSITORY}@{DIGEST}", "digest": DIGEST},
    "error": None,
    "requestedBy": API_KEY_ID,
    "retryOf": None,
    "createdAt": CREATED_AT,
    "runAt": CREATED_AT,
    "deadlineAt": "2026-07-02T09:00:00.000Z",
    "dispatchedAt": CREATED_AT,
    "startedAt": STARTED_AT,
    "finishedAt": FINISHED_AT,
    "cancelRequestedAt": None,
}
JOB_EVENT: Example = {
    "seq": 1,
    "attempt": 1,
    "kind": "state",
    "state": "running",
    "data": {},
    "at": STARTED_AT,
}
JOB_DETAIL: Example = {
    **JOB,
    "waiting": None,
    "verification": None,
    "attempts": [
        {
            "attempt": 1,
            "dispatchedAt": CREATED_AT,
            "startedAt": STARTED_AT,
            "endedAt": FINISHED_AT,
            "outcome": "succeeded",
            "error": None,
        }
    ],
    "events": [JOB_EVENT],
    "flowerUrl": f"https://flower.example/task/{JOB_ID}.1",
}
SIGNING_KEY: Example = {
    "signingKeyId": SIGNING_KEY_ID,
    "name": "release",
    "fingerprint": f"sha256:{'5' * 64}",
    "publicKey": "-----BEGIN PUBLIC KEY-----\n…\n-----END PUBLIC KEY-----\n",
    "canSign": True,
    "createdAt": CREATED_AT,
    "retiredAt": None,
}
SIGNATURE_POLICY: Example = {
    "mode": "enforce",
    "signingKeyIds": [SIGNING_KEY_ID],
    "predicateTypes": ["https://spdx.dev/Document"],
    "baseRegistries": ["docker.io/library", "ghcr.io"],
    "publishers": [{"prefix": "docker.io/library", "signingKeyIds": [SIGNING_KEY_ID]}],
    "source": "application",
}
SCAN_POLICY: Example = {
    "sbom": "spdx",
    "mode": "enforce",
    "maxSeverity": "high",
    "exceptions": [
        {
            "vulnerability": "CVE-2025-0001",
            "package": "openssl",
            "reason": "the shop does not parse certificates",
            "until": "2027-01-31T00:00:00.000Z",
        }
    ],
    "source": "application",
}
IMAGE_REPORT: Example = {
    "digest": DIGEST,
    "reference": f"ghcr.io/acme/shop@{DIGEST}",
    "serverId": SERVER_ID,
    "sbom": {
        "format": "spdx",
        "attached": DIGEST,
        "tool": "syft",
        "toolVersion": "1.18.1",
        "packages": 214,
        "leftOut": 0,
    },
    "sbomAt": FINISHED_AT,
    "vulnerabilities": {
        "scanner": "trivy",
        "scannerVersion": "0.58.1",
        "databaseBuiltAt": CREATED_AT,
        "counts": {"critical": 1, "high": 0, "medium": 0, "low": 0, "unknown": 0},
        "excepted": 1,
        "findings": [
            {
                "vulnerability": "CVE-2025-0001",
                "package": "openssl",
                "version": "3.0.15-1~deb12u1",
                "fixedVersion": "3.0.16-1~deb12u1",
                "severity": "critical",
                "title": "openssl: a buffer is overrun",
                "excepted": True,
            }
        ],
        "leftOut": 0,
    },
    "scannedAt": FINISHED_AT,
}
PACKAGE_MATCH: Example = {
    "applicationId": APPLICATION_ID,
    "applicationName": "shop",
    "serverId": SERVER_ID,
    "serverName": "alpha",
    "reference": f"ghcr.io/acme/shop@{DIGEST}",
    "digest": DIGEST,
    "type": "deb",
    "package": "openssl",
    "version": "3.0.15-1~deb12u1",
    "isBelow": True,
}
SIGNED: Example = {
    "reference": f"ghcr.io/acme/shop@{DIGEST}",
    "digest": DIGEST,
    "fingerprint": SIGNING_KEY["fingerprint"],
    "attached": [DIGEST],
}
WEBHOOK: Example = {
    "webhookId": WEBHOOK_ID,
    "url": "https://hooks.example/wharfinger",
    "events": ["build.ended", "deployment.ended"],
    "enabled": True,
    "disabledAt": None,
    "disabledCode": None,
    "createdAt": CREATED_AT,
}
DELIVERY: Example = {
    "deliveryId": DELIVERY_ID,
    "webhookId": WEBHOOK_ID,
    "event": "build.ended",
    "state": "delivered",
    "attempts": 1,
    "status": 200,
    "code": None,
    "payload": {
        "type": "build.ended",
        "timestamp": FINISHED_AT,
        "data": {"buildId": BUILD_ID, "state": "succeeded"},
    },
    "createdAt": FINISHED_AT,
    "dueAt": None,
    "deliveredAt": FINISHED_AT,
    "failedAt": None,
}
API_KEY: Example = {
    "apiKeyId": API_KEY_ID,
    "name": "pipeline",
    "role": "member",
    "memberId": None,
    "procedures": [],
    "networks": [],
    "applicationIds": [],
    "start": "wharf_EXAM",
    "createdAt": CREATED_AT,
    "expiresAt": None,
    "lastUsedAt": None,
    "organizationId": ORGANIZATION_ID,
}
ORGANIZATION: Example = {
    "organizationId": ORGANIZATION_ID,
    "rotateAfterDays": 60,
    "networks": ["198.51.100.0/24"],
    "serverNetworks": [],
}
QUOTAS: list[Example] = [
    {"name": "applications", "used": 12, "limit": 10_000},
    {"name": "queuedJobs", "used": 3, "limit": 10_000},
    {"name": "uploadBytes", "used": 41_943_040, "limit": 10_737_418_240},
    {"name": "streams", "used": 2, "limit": 500},
    {"name": "webhooks", "used": 1, "limit": 20},
]
STATISTICS: Example = {
    "hours": [
        {"hour": CREATED_AT, "succeeded": 41, "failed": 1, "cancelled": 0, "expired": 0},
    ],
    "codes": [{"code": "image_not_found", "jobs": 1}],
    "slowest": [
        {"jobId": JOB_ID, "kind": "image.push", "seconds": 12.5, "movedBytes": 52428800},
    ],
    "now": {"queued": 3, "running": 2},
}
LISTED_MEMBER: Example = {
    "id": MEMBER_ID,
    "organizationId": ORGANIZATION_ID,
    "userId": USER_ID,
    "role": "admin",
    "createdAt": CREATED_AT,
    "user": {"id": USER_ID, "name": "Ada", "email": "ada@example.com"},
    "signedInAt": STARTED_AT,
    "hasSecondFactor": True,
    "networks": [],
}
INVITATION: Example = {
    "invitationId": INVITATION_ID,
    "organizationId": ORGANIZATION_ID,
    "email": "ada@example.com",
    "role": "member",
    "createdAt": CREATED_AT,
    "expiresAt": "2026-07-08T09:00:00.000Z",
}
AUDIT_ENTRY: Example = {
    "auditEventId": "0197c1e4-0a00-7000-8000-000000000015",
    "at": CREATED_AT,
    "action": "registry.create",
    "objectId": REGISTRY_ID,
    "actorId": API_KEY_ID,
    "actor": "pipeline",
    "data": {"name": "Production", "host": "ghcr.io"},
}
HASH = "5b3c8f7f3a0c6c1f1c0f4c3e8d1b6a5f4e3d2c1b0a99887766554433221100ff"
AUDIT_EXPORT: Example = {
    "publicKeys": ["wharf-audit-public-v1.11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"],
    "segments": [],
    "checkpoints": [
        {
            "organizationId": ORGANIZATION_ID,
            "number": 1,
            "sequence": 1,
            "hash": HASH,
            "at": "2026-07-01T09:00:30.000000Z",
            "keyId": "21fe31dfa154a261",
            "signature": "5VbBA9Ex7TtPzqS0VZzmPUt5cdw8Oct3UWqZcIMbC2tE…",
        }
    ],
    "entries": [
        {
            "organizationId": ORGANIZATION_ID,
            "sequence": 1,
            "auditEventId": "0197c1e4-0a00-7000-8000-000000000015",
            "at": "2026-07-01T09:00:00.000000Z",
            "action": "registry.create",
            "objectId": REGISTRY_ID,
            "actorId": API_KEY_ID,
            "data": {"name": "Production", "host": "ghcr.io"},
            "previousHash": "0" * 64,
            "hash": HASH,
        }
    ],
    "end": {"sequence": 1, "hash": HASH, "checkpoint": 1},
}
MEMBER: Example = {
    "id": API_KEY_ID,
    "organizationId": ORGANIZATION_ID,
    "userId": API_KEY_ID,
    "role": "member",
    "createdAt": CREATED_AT,
    "user": {"id": API_KEY_ID, "name": "pipeline", "email": None},
}
CREATED_KEY: Example = {
    **API_KEY,
    "key": "wharf_EXAMPLE-of-a-key-that-is-shown-only-once-000",
}
_EMPTY_LISTS: Example = {
    name: [] for name in ("compose", "libsql", "mariadb", "mongo", "mysql", "postgres", "redis")
}
ENVIRONMENT: Example = {
    "environmentId": ORGANIZATION_ID,
    "projectId": ORGANIZATION_ID,
    "name": "production",
    "description": "",
    "env": "",
    "isDefault": True,
    "createdAt": CREATED_AT,
    "applications": [APPLICATION],
    **_EMPTY_LISTS,
}
PROJECT: Example = {
    "projectId": ORGANIZATION_ID,
    "name": "default",
    "description": "",
    "env": "",
    "organizationId": ORGANIZATION_ID,
    "createdAt": CREATED_AT,
    "environments": [ENVIRONMENT],
}
QUEUED_DEPLOYMENT: Example = {
    "id": DEPLOYMENT_ID,
    "name": "deployments",
    "data": {
        "applicationId": APPLICATION_ID,
        "applicationType": "application",
        "type": "deploy",
        "titleLog": "Release 1.4",
        "descriptionLog": "",
        "server": True,
    },
    "state": "waiting",
    "timestamp": 1782896400000,
    "processedOn": None,
    "finishedOn": None,
    "failedReason": None,
}
RESTORED: Example = {
    "heldAt": FINISHED_AT,
    "waitingJobIds": [JOB_ID],
    "apiKeys": [API_KEY],
    "deployHooks": [
        {
            "hookId": HOOK_ID,
            "applicationId": APPLICATION_ID,
            "createdAt": CREATED_AT,
            "lastUsedAt": None,
        }
    ],
}
INSPECTED_IMAGE: Example = {
    "reference": f"{REPOSITORY}:1.4",
    "registryId": REGISTRY_ID,
    "serverId": SERVER_ID,
    "digest": DIGEST,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "artifactType": "",
    "sizeBytes": 52428800,
    "createdAt": CREATED_AT,
    "labels": {"org.opencontainers.image.version": "1.4"},
    "platforms": [{"platform": "linux/amd64", "digest": DIGEST, "sizeBytes": 52428800}],
    "attachments": [
        {
            "kind": "signature",
            "digest": DIGEST,
            "tag": f"sha256-{'4f' * 32}.sig",
            "artifactType": "",
        }
    ],
    "running": [
        {
            "applicationId": APPLICATION_ID,
            "applicationName": "shop",
            "serverId": SERVER_ID,
            "serverName": "web-1",
            "deploymentId": DEPLOYMENT_ID,
            "since": FINISHED_AT,
        }
    ],
    "gaps": [],
    "askedAt": FINISHED_AT,
}
TAG_LIST: Example = {
    "registryId": REGISTRY_ID,
    "serverId": SERVER_ID,
    "repository": "myorg/shop",
    "tags": ["1.3", "1.4"],
    "next": "n=2&last=1.4",
    "leftOut": 0,
}
REPOSITORY_LIST: Example = {
    "registryId": REGISTRY_ID,
    "serverId": SERVER_ID,
    "source": "known",
    "repositories": ["acme/shop"],
    "next": None,
    "leftOut": 0,
    "finding": "ghcr.io does not list its repositories to this login (cannot list the repositories "
    "of ghcr.io). These are the repositories that applications and recent jobs name.",
}
