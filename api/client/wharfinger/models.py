"""The answers of the API, and the parts of its inputs.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from wharfinger.calls import OPEN, Model


class FieldWarning(Model):
    """A field of the request that was accepted and has no effect; `message` says why."""

    field: str
    code: str = "no_effect"
    message: str


class DeployedServer(Model):
    """One server; `gapSeconds` is the time for which nothing answered at its published ports.

    `jobIds` are the jobs of its steps in order: pull, replace.
    """

    server_id: str
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled", "expired"], OPEN
    ]
    error: dict[str, JsonValue] | None
    container_id: str | None
    gap_seconds: float | None
    job_ids: list[str]


class AcceptedJob(Model):
    """A job that was stored; its end is not awaited."""

    job_id: str


class AcceptedPull(Model):
    """The accepted job; `joined`: it is that of an earlier request for the same image."""

    job_id: str
    joined: bool


class AcceptedVulnerabilityInput(Model):
    """A vulnerability that is accepted `until` then: in one `package`, or in any."""

    vulnerability: str
    package: str | None = None
    reason: str
    until: datetime


class AcrSourceInput(Model):
    """A service principal of Microsoft Entra ID.

    `federated_token_file` is a file of the machine of control; its token takes the place of the
    client secret (workload identity federation).
    """

    kind: Literal["acr"]
    tenant_id: str
    client_id: str
    client_secret: str | None = Field(default=None, repr=False)
    federated_token_file: str | None = None


class ApiKey(Model):
    """An API key without its secret; `start` holds its first characters.

    A personal key (`memberId`) has at most the role of its member, and ends with the
    membership.
    """

    api_key_id: str
    name: str
    role: Annotated[Literal["admin", "member", "viewer"], OPEN]
    member_id: str | None
    procedures: list[str]
    networks: list[str]
    application_ids: list[str]
    start: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    organization_id: str


class HealthCheck(Model):
    """A command that ends with 0 in a healthy container; run as it stands, by no shell."""

    command: list[str]
    interval_seconds: int = 30
    timeout_seconds: int = 30
    start_period_seconds: int = 0
    retries: int = 3


class Mount(Model):
    """A directory of the server (`bind`) or a named volume, at `mountPath` of the container."""

    type: Annotated[Literal["bind", "volume"], OPEN]
    mount_path: str
    host_path: str | None = None
    volume_name: str | None = None
    read_only: bool = False


class Port(Model):
    """`targetPort` of the container, reached at `publishedPort` of its server.

    Of a Swarm's service: `ingress` at every node, `host` at those that run it.
    """

    published_port: int
    target_port: int
    protocol: Annotated[Literal["tcp", "udp"], OPEN] = "tcp"
    publish_mode: Annotated[Literal["ingress", "host"], OPEN] = "ingress"


class Attachment(Model):
    """A signature, an attestation or an SBOM; `tag` is the one that cosign has given it."""

    kind: Annotated[Literal["signature", "attestation", "sbom", "other"], OPEN]
    digest: str
    tag: str | None
    artifact_type: str


class AuditChainEntry(Model):
    """An entry with its place in the chain.

    `hash` is the SHA-256 of the other fields as JSON with sorted keys, without spaces, in
    UTF-8. `at` is UTC with microseconds.
    """

    organization_id: str
    sequence: int
    audit_event_id: str
    at: str
    action: str
    object_id: str | None
    actor_id: str | None
    data: dict[str, JsonValue] | None
    previous_hash: str
    hash: str


class AuditCheckpoint(Model):
    """A statement of an entry's hash, signed by control with Ed25519."""

    organization_id: str
    number: int
    sequence: int
    hash: str
    at: str
    key_id: str
    signature: str


class AuditEnd(Model):
    """The newest entry and the number of the newest checkpoint."""

    sequence: int
    hash: str
    checkpoint: int


class AuditSegment(Model):
    """A signed statement of entries that were exported to a file and removed."""

    organization_id: str
    first_sequence: int
    last_sequence: int
    previous_hash: str
    last_hash: str
    checkpoint: int
    file: str
    file_sha256: str
    at: str
    key_id: str
    signature: str


class AuditLogEntry(Model):
    """One action; `actor` is the name of the key or the person, if there still is one."""

    audit_event_id: str
    at: datetime
    action: str
    object_id: str | None
    actor_id: str | None
    actor: str | None
    data: dict[str, JsonValue] | None


class BuildContext(Model):
    """A stored context, from which builds can be made; `sha256` is hexadecimal."""

    context_id: str
    size_bytes: int
    sha256: str


class Certificate(Model):
    """A certificate; `sha256` is the fingerprint of its DER form, as `openssl x509` shows it.

    It is `due` for a change 30 days before it ends.
    """

    subject: str
    sha256: str
    not_after: datetime
    state: Annotated[Literal["current", "due", "expired"], OPEN]


JobClass = Annotated[Literal["quick", "transfer", "build"], OPEN]
"""Slots are counted for each class, so that a long transfer never delays a test."""


class ChangedWebhook(Model):
    """A changed webhook; `secret` is new, and shown only once, if the URL has a new host."""

    webhook_id: str
    url: str
    events: list[
        Annotated[
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
            ],
            OPEN,
        ]
    ]
    enabled: bool
    disabled_at: datetime | None
    disabled_code: str | None
    created_at: datetime
    secret: str | None = Field(repr=False)


class CodeOfJobs(Model):
    code: str
    jobs: int


JobState = Annotated[
    Literal["queued", "dispatched", "running", "succeeded", "failed", "cancelled", "expired"], OPEN
]


class CreatedApiKey(Model):
    """A new API key; `key` is shown only once."""

    api_key_id: str
    name: str
    role: Annotated[Literal["admin", "member", "viewer"], OPEN]
    member_id: str | None
    procedures: list[str]
    networks: list[str]
    application_ids: list[str]
    start: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    organization_id: str
    key: str = Field(repr=False)


class CreatedInvitation(Model):
    """A new invitation; `path` of the link, below the API's address, is shown only once."""

    invitation_id: str
    organization_id: str
    email: str | None
    role: Annotated[Literal["owner", "admin", "member", "viewer"], OPEN]
    created_at: datetime
    expires_at: datetime
    path: str


class CreatedPasswordReset(Model):
    """A link for a new password; `path` of it, below the API's address, is shown only once."""

    reset_id: str
    user_id: str
    expires_at: datetime
    path: str


class CredentialFault(Model):
    """The error of the last attempt to get a login from the provider."""

    code: str
    message: str
    remedy: str


Provider = Annotated[
    Literal[
        "docker_hub",
        "ghcr",
        "ecr",
        "ecr_public",
        "google",
        "acr",
        "quay",
        "gitlab",
        "digitalocean",
        "scaleway",
        "oracle",
        "self_hosted",
    ],
    OPEN,
]
"""The operator of a registry; `SELF_HOSTED` is every host that is not known."""


class Quota(Model):
    """The pulls that a registry allows: `remaining` of `limit` in `windowSeconds`.

    `windowEndsAt` is the latest end of the window. Until `blockedUntil` all pulls wait; then
    one tries. A number that the registry does not say is null.
    """

    limit: int | None
    remaining: int | None
    window_seconds: int | None
    window_ends_at: datetime | None
    observed_at: datetime
    blocked_until: datetime | None


class CreatedWebhook(Model):
    """A new webhook; `secret` is shown only once."""

    webhook_id: str
    url: str
    events: list[
        Annotated[
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
            ],
            OPEN,
        ]
    ]
    enabled: bool
    disabled_at: datetime | None
    disabled_code: str | None
    created_at: datetime
    secret: str = Field(repr=False)


class DeployHook(Model):
    """A hook without its URL and its secret."""

    hook_id: str
    application_id: str
    tag_filter: str
    branch_filter: str | None
    path_filters: list[str]
    require_signature: bool
    created_at: datetime
    last_used_at: datetime | None


class DeployKey(Model):
    """A public key, to be added to the repository's deploy keys at its git host."""

    application_id: str
    host: str
    public_key: str
    fingerprint: str


DigestOutcome = Annotated[Literal["verified", "missing", "not_reached"], OPEN]
"""`missing`: the registry does not have the digest; `not_reached`: it did not answer."""


class EcrSourceInput(Model):
    """Access keys, or the identity of control's machine; with `role_arn` it assumes this role.

    `session_token` belongs to temporary keys, which are not renewed. `external_id` is the one
    that the role's trust policy requires. With `create_repository` control creates a repository
    that is missing at the first push.
    """

    kind: Literal["ecr"]
    access_key_id: str | None = None
    secret_access_key: str | None = Field(default=None, repr=False)
    session_token: str | None = Field(default=None, repr=False)
    machine_identity: bool = False
    role_arn: str | None = None
    external_id: str | None = None
    create_repository: bool = False


class EnrolledServer(Model):
    """The server's id, and the addresses of database and broker without passwords."""

    server_id: str
    organization_id: str
    database_url: str
    broker_url: str | None


class Nothing(Model):
    """An item of a list that is always empty."""


ExcessCode = Annotated[
    Literal["delete", "everything", "administrator", "all_repositories", "personal_account"], OPEN
]
"""The rights of a login beyond need."""
FaultCode = Annotated[
    Literal[
        "ref_invalid",
        "network_refused",
        "dns_not_found",
        "dns_failure",
        "conn_refused",
        "conn_timeout",
        "conn_reset",
        "no_route",
        "tls_unknown_ca",
        "tls_expired",
        "tls_name_mismatch",
        "tls_not_offered",
        "tls_failed",
        "tls_client_cert",
        "plain_http_refused",
        "http_to_https",
        "auth_bad_credentials",
        "auth_missing",
        "auth_expired",
        "auth_server_unreachable",
        "auth_unsafe_realm",
        "auth_not_checked",
        "credential_refused",
        "credential_denied",
        "machine_identity_off",
        "pull_denied",
        "push_denied",
        "repo_missing",
        "image_not_found",
        "image_incomplete",
        "not_an_image",
        "compression_unsupported",
        "local_image_missing",
        "not_a_registry",
        "blocked_by_proxy",
        "proxy_error",
        "rate_limited",
        "registry_error",
        "registry_read_only",
        "quota_exceeded",
        "location_mismatch",
        "disk_full",
        "platform_missing",
        "upload_corrupt",
        "tag_immutable",
        "delete_unsupported",
        "layer_too_large",
        "digest_mismatch",
        "engine_unreachable",
        "engine_api_version",
        "engine_stream_truncated",
        "engine_stalled",
        "engine_busy",
        "engine_refused",
        "transfer_timeout",
        "build_failed",
        "container_missing",
        "container_unhealthy",
        "container_exited",
        "port_taken",
        "name_taken",
        "host_path_not_allowed",
        "restore_failed",
        "other_runtime",
        "not_a_swarm_manager",
        "no_suitable_node",
        "service_missing",
        "service_changed",
        "build_secret_missing",
        "build_unsupported",
        "dockerfile_invalid",
        "source_not_found",
        "source_denied",
        "source_unreachable",
        "source_too_large",
        "source_invalid",
        "source_corrupt",
        "source_altered",
        "source_incomplete",
        "revision_not_found",
        "host_key_not_pinned",
        "host_key_changed",
        "signature_missing",
        "signature_invalid",
        "signature_untrusted",
        "attestation_missing",
        "scanner_missing",
        "scan_failed",
        "vulnerabilities_found",
        "base_not_allowed",
    ],
    OPEN,
]

Finding = Annotated[Literal["waiting", "running", "passed", "failed", "not_reached"], OPEN]
"""`not_reached`: the server did not take the test, or was lost during it."""


class GoogleSourceInput(Model):
    """A service account's key, or an external account, each as the text of its JSON file."""

    kind: Literal["google"]
    service_account_key: str | None = Field(default=None, repr=False)
    external_account: str | None = Field(default=None, repr=False)


class Health(Model):
    """The answer of a process that serves requests; `/readyz` checks the database too."""

    status: Literal["ok"] = "ok"


class HourOfJobs(Model):
    """The jobs that ended in an hour, by state."""

    hour: datetime
    succeeded: int
    failed: int
    cancelled: int
    expired: int


class Image(Model):
    """The image with its new name; `verifiedBy` names the process that verified the digest."""

    reference: str
    digest: str | None
    image_id: str | None
    size_bytes: int | None
    verified_by: str | None


class Platform(Model):
    """The image of one platform; `sizeBytes` is that of its layers and configuration."""

    platform: str
    digest: str
    size_bytes: int


class RunningPlace(Model):
    """An application on a server, and its deployment, whose recorded digest is the image's."""

    application_id: str
    application_name: str
    server_id: str
    server_name: str
    deployment_id: str
    since: datetime | None


class Invitation(Model):
    """An invitation that nobody has accepted yet; without `email` it is for who opens it."""

    invitation_id: str
    organization_id: str
    email: str | None
    role: Annotated[Literal["owner", "admin", "member", "viewer"], OPEN]
    created_at: datetime
    expires_at: datetime


class JobAttempt(Model):
    attempt: int
    dispatched_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    error: dict[str, JsonValue] | None


class WaitingReason(Model):
    """The reason why a job waits; `since`, `until` if known; `jobs` are those it needs."""

    code: Annotated[
        Literal[
            "restored",
            "needs",
            "server_removed",
            "server_not_approved",
            "server_offline",
            "server_draining",
            "worker_too_old",
            "paused",
            "backoff",
            "same_target",
            "credential_refused",
            "credential_untested",
            "login_pending",
            "signatures_unchecked",
            "quota",
            "server_limit",
            "registry_limit",
            "organization_limit",
        ],
        OPEN,
    ]
    message: str
    since: datetime | None = None
    until: datetime | None = None
    jobs: list[str]


JobKind = Annotated[
    Literal[
        "server.check",
        "registry.test",
        "image.pull",
        "image.push",
        "image.tag",
        "image.build",
        "image.copy",
        "image.verify",
        "image.delete",
        "image.inspect",
        "image.tags",
        "image.repositories",
        "image.scan",
        "signature.sign",
        "signature.verify",
        "compose.pull",
        "container.replace",
        "service.replace",
        "service.login",
        "application.control",
        "application.logs",
    ],
    OPEN,
]
"""The kinds of jobs, which are also the names of the Celery tasks."""


class JobsNow(Model):
    queued: int
    running: int


class SlowTransfer(Model):
    job_id: str
    kind: str
    seconds: float
    moved_bytes: int


class JoinToken(Model):
    """`joinToken` is shown only once and is valid for one enrolment within 15 minutes.

    A server that joins pins the internal CA by its `caSha256`.
    """

    server_id: str
    join_token: str = Field(repr=False)
    ca_sha256: str | None


class KeyMetadataInput(Model):
    organization_id: str


class User(Model):
    """A person, or an API key, which counts as a user and has no `email`."""

    id: str
    name: str
    email: str | None = None


class RefusedLogin(Model):
    """Refusals of the login from one server, or from control itself: then `serverId` is null."""

    server_id: str | None
    code: str | None
    times: int
    since: datetime
    last_refused_at: datetime


class Match(Model):
    """A package in the image that an application runs on a server.

    `isBelow` is null without `below`, and if the versions cannot be compared.
    """

    application_id: str
    application_name: str
    server_id: str
    server_name: str
    reference: str
    digest: str
    type: str
    package: str
    version: str
    is_below: bool | None


class OrganizationQuota(Model):
    """A quota of the organization. `limit` is null if there is none.

    `used` and `limit` of `streams` are those of one API process, the one that answers.
    """

    name: Annotated[
        Literal["applications", "queuedJobs", "uploadBytes", "streams", "webhooks"], OPEN
    ]
    used: int
    limit: int | None


class OrganizationSettings(Model):
    """The settings; `rotateAfterDays` counts for each registry that has none of its own.

    People and keys are refused outside of `networks`, and workers at the API outside of
    `serverNetworks`. An empty list limits nothing.
    """

    organization_id: str
    rotate_after_days: int
    networks: list[str]
    server_networks: list[str]


class Package(Model):
    """A package of an image; `type` is that of its package URL, as `deb` or `pypi`."""

    type: str
    name: str
    version: str


class Publisher(Model):
    """A publisher, and the keys of which one has to have signed its images."""

    prefix: str
    signing_key_ids: list[str]


ProbeOutcome = Annotated[Literal["ok", "failed", "warning", "skipped", "not_run"], OPEN]
"""A `warning` ends nothing; `skipped`: not requested; `not_run`: not reached."""
ProbeStage = Annotated[
    Literal[
        "parse", "policy", "dns", "tcp", "tls", "ping", "auth", "pull", "push", "catalog", "engine"
    ],
    OPEN,
]


class Proof(Model):
    predicate_type: str
    fingerprint: str
    form: str


class PublisherInput(Model):
    """Images below `prefix` (`docker.io/library`) have to be signed by one of these keys."""

    prefix: str
    signing_key_ids: list[str]


class QueuedData(Model):
    """The application that a queued job deploys."""

    application_id: str
    application_type: Literal["application"] = "application"
    type: Literal["deploy"] = "deploy"
    title_log: str
    description_log: str
    server: bool = True


class UsingApplication(Model):
    """An application that pulls or pushes with the registry, or keeps images there.

    `pull` includes the bases of its builds. An application that names no registry pulls its
    image with the one whose prefix fits.
    """

    application_id: str
    name: str
    uses: list[Annotated[Literal["pull", "build", "rollback"], OPEN]]


class Sbom(Model):
    """An SBOM; `attached` is the digest of its manifest beside the image, if it is stored there.

    `leftOut` packages are not in the index that `sbom.search` uses.
    """

    format: Annotated[Literal["spdx", "cyclonedx"], OPEN]
    attached: str | None
    tool: str
    tool_version: str
    packages: int
    left_out: int


class RepositoryList(Model):
    """Repositories at the registry's prefix or below; `next` is for `after`.

    Many registries list none, as `finding` then says. With the source `known` they are those
    that applications and recent jobs name.
    """

    registry_id: str
    server_id: str
    source: Annotated[Literal["registry", "known"], OPEN]
    repositories: list[str]
    next: str | None
    left_out: int
    finding: str | None


class RestoredDeployHook(Model):
    """A deploy hook of the backup."""

    hook_id: str
    application_id: str
    created_at: datetime
    last_used_at: datetime | None


class ResumedJobs(Model):
    """The number of resumed jobs."""

    resumed: int


class RetriedJob(Model):
    """The new job, and the one that it repeats."""

    job_id: str
    retry_of: str


class RollbackPoint(Model):
    """An image to roll back to, which was whole at its registry at `verifiedAt`.

    It is `offered` if it was verified lately; if not, `error` says why. `deploymentId` is the
    last deployment that ran it, `version` that of its build.
    """

    rollback_id: str
    application_id: str
    deployment_id: str
    build_id: str
    version: int
    reference: str
    digest: str
    registry_id: str | None
    offered: bool
    error: dict[str, JsonValue] | None
    is_running: bool
    verified_at: datetime
    used_at: datetime
    created_at: datetime


RotationState = Annotated[
    Literal["testing", "switched", "dropped", "rolled_back", "refused", "cancelled"], OPEN
]
"""`testing`: the new login is not in use yet; `switched`: the old one is kept.

The others are ends: of the two logins only the registry's own is left.
"""


class ScanException(Model):
    vulnerability: str
    package: str | None
    reason: str
    until: datetime


class SeverityCounts(Model):
    critical: int
    high: int
    medium: int
    low: int
    unknown: int


class ServerPathPart(Model):
    """One part of the path; `isGood` is null for a part that the job did not reach.

    `milliseconds` is the time since the previous part.
    """

    name: Annotated[Literal["database", "control", "broker", "worker", "engine"], OPEN]
    is_good: bool | None
    milliseconds: float | None = None
    found: str
    remedy: str = ""


class ServerValidationCheck(Model):
    """`isGood` is null if it is unknown; a failed check has a remedy."""

    name: Annotated[
        Literal[
            "enrolled",
            "approved",
            "online",
            "worker",
            "secondWorker",
            "engine",
            "engineCalls",
            "engineApi",
            "healthChecks",
            "disk",
            "clock",
        ],
        OPEN,
    ]
    is_good: bool | None
    found: str
    remedy: str = ""


class SignedImage(Model):
    """The stored signature; `attached` are the digests of its manifests."""

    reference: str
    digest: str
    fingerprint: str
    attached: list[str]


class SigningKey(Model):
    """A key without its private part.

    `publicKey` is what `cosign verify --key` reads. A key that `canSign` is the organization's
    own; others only check signatures. A retired key signs no more, and what it signed is still
    accepted.
    """

    signing_key_id: str
    name: str
    fingerprint: str
    public_key: str
    can_sign: bool
    created_at: datetime
    retired_at: datetime | None


class SwarmHealthCheckInput(Model):
    """Dokploy's form of a health check, which is the Engine's: times in nanoseconds."""

    test: list[str] | None = Field(
        default=None, validation_alias="Test", serialization_alias="Test"
    )
    interval: float | None = Field(
        default=None, validation_alias="Interval", serialization_alias="Interval"
    )
    timeout: float | None = Field(
        default=None, validation_alias="Timeout", serialization_alias="Timeout"
    )
    start_period: float | None = Field(
        default=None, validation_alias="StartPeriod", serialization_alias="StartPeriod"
    )
    retries: int | None = Field(
        default=None, validation_alias="Retries", serialization_alias="Retries"
    )


class TagList(Model):
    """Tags in the registry's order; `next` is for `after`, and `null` at the end.

    `leftOut` counts names that the registry lists, and that are no tags.
    """

    registry_id: str
    server_id: str
    repository: str
    tags: list[str]
    next: str | None
    left_out: int


class Violation(Model):
    code: str
    message: str


class Vulnerability(Model):
    """A vulnerability of a package; `excepted` if the policy accepted it at the time of the scan.

    `fixedVersion` is empty if no version without it is known.
    """

    vulnerability: str
    package: str
    version: str
    fixed_version: str
    severity: Annotated[Literal["critical", "high", "medium", "low", "unknown"], OPEN]
    title: str
    excepted: bool


class Webhook(Model):
    """An endpoint; `disabledCode` is `gone` if its answer (410) disabled it.

    Only administrators see the whole `url`: its path may be a secret of the endpoint.
    """

    webhook_id: str
    url: str
    events: list[
        Annotated[
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
            ],
            OPEN,
        ]
    ]
    enabled: bool
    disabled_at: datetime | None
    disabled_code: str | None
    created_at: datetime


class WebhookDelivery(Model):
    """A message to an endpoint; its id is sent as `webhook-id`.

    `status` is the HTTP status of the last attempt; without an answer `code` is the cause.
    `dueAt` is the time of the next attempt. `payload` is the body.
    """

    delivery_id: str
    webhook_id: str
    event: Annotated[
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
        ],
        OPEN,
    ]
    state: Annotated[Literal["pending", "delivered", "failed"], OPEN]
    attempts: int
    status: int | None
    code: str | None
    payload: dict[str, JsonValue]
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None
    failed_at: datetime | None


class CreatedDeployHook(Model):
    """A new hook; `url`, relative to the API's address, and `secret` are shown only once."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    hook_id: str
    application_id: str
    tag_filter: str
    branch_filter: str | None
    path_filters: list[str]
    require_signature: bool
    created_at: datetime
    last_used_at: datetime | None
    url: str = Field(repr=False)
    secret: str = Field(repr=False)


class CreatedUserKey(Model):
    """A new API key; `id` is its `apiKeyId`, and `key` is shown only once."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    api_key_id: str
    name: str
    role: Annotated[Literal["admin", "member", "viewer"], OPEN]
    member_id: str | None
    procedures: list[str]
    networks: list[str]
    application_ids: list[str]
    start: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    organization_id: str
    key: str = Field(repr=False)
    id: str


class AcceptedDeployment(Model):
    """A stored deployment; `jobId` is its first job."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    job_id: str
    deployment_id: str
    application_id: str
    build_id: str
    rollback_id: str | None
    deploys_rollback_id: str | None
    rolls_back: str | None
    title: str
    description: str
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"],
        OPEN,
    ]
    status: Annotated[Literal["running", "done", "error", "cancelled"], OPEN]
    reference: str
    digest: str | None
    error: dict[str, JsonValue] | None
    error_message: str | None
    servers: list[DeployedServer]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Deployment(Model):
    """An image brought to an application's servers; `reference` is it by its digest, once known.

    What failed on a server has left there what ran before. `buildId` is the deployment's own id
    where it is built for it. `rollbackId` is the rollback point of what it runs, if there is
    one; `deploysRollbackId` is the point that it was requested for. `rollsBack` is the failed
    deployment whose servers get back what they had before it. `status` is `state` in Dokploy's
    words, which have none for one that waits: it is `running` too, without `startedAt`.
    `errorMessage` is the message and the remedy of `error`.
    """

    deployment_id: str
    application_id: str
    build_id: str
    rollback_id: str | None
    deploys_rollback_id: str | None
    rolls_back: str | None
    title: str
    description: str
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"],
        OPEN,
    ]
    status: Annotated[Literal["running", "done", "error", "cancelled"], OPEN]
    reference: str
    digest: str | None
    error: dict[str, JsonValue] | None
    error_message: str | None
    servers: list[DeployedServer]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Application(Model):
    """`registryId` is pulled from, `buildRegistryId` pushed to; it runs on `serverIds`.

    `applicationStatus` is that of its newest deployment, `serverId` the first of its servers,
    both for clients of Dokploy; `environmentId` is the organization's one environment.
    """

    application_id: str
    name: str
    app_name: str
    description: str
    source_type: Annotated[Literal["docker", "git", "drop"], OPEN] | None
    docker_image: str | None
    custom_git_url: str | None
    custom_git_branch: str | None
    custom_git_commit: str | None
    custom_git_build_path: str
    custom_git_username: str | None
    has_custom_git_token: bool
    custom_git_ssh_public_key: str | None = Field(
        validation_alias="customGitSSHPublicKey", serialization_alias="customGitSSHPublicKey"
    )
    custom_git_ssh_fingerprint: str | None = Field(
        validation_alias="customGitSSHFingerprint", serialization_alias="customGitSSHFingerprint"
    )
    custom_git_host_key: str | None
    build_type: Literal["dockerfile"]
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
    ports: list[Port]
    mounts: list[Mount]
    replicas: int
    runtime: Annotated[Literal["container", "service", "none"], OPEN]
    stop_signal: str | None
    stop_grace_seconds: int
    rollout_batch: int
    rollout_on_failure: Annotated[Literal["stop", "rollback"], OPEN]
    rollbacks_to_keep: int
    latest_wins: bool
    allowed_keys: list[str]
    last_version: int
    application_status: Annotated[Literal["idle", "running", "done", "error"], OPEN]
    environment_id: str
    created_at: datetime
    organization_id: str


class ChangedApplication(Model):
    """An application that was changed, with warnings."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    application_id: str
    name: str
    app_name: str
    description: str
    source_type: Annotated[Literal["docker", "git", "drop"], OPEN] | None
    docker_image: str | None
    custom_git_url: str | None
    custom_git_branch: str | None
    custom_git_commit: str | None
    custom_git_build_path: str
    custom_git_username: str | None
    has_custom_git_token: bool
    custom_git_ssh_public_key: str | None = Field(
        validation_alias="customGitSSHPublicKey", serialization_alias="customGitSSHPublicKey"
    )
    custom_git_ssh_fingerprint: str | None = Field(
        validation_alias="customGitSSHFingerprint", serialization_alias="customGitSSHFingerprint"
    )
    custom_git_host_key: str | None
    build_type: Literal["dockerfile"]
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
    ports: list[Port]
    mounts: list[Mount]
    replicas: int
    runtime: Annotated[Literal["container", "service", "none"], OPEN]
    stop_signal: str | None
    stop_grace_seconds: int
    rollout_batch: int
    rollout_on_failure: Annotated[Literal["stop", "rollback"], OPEN]
    rollbacks_to_keep: int
    latest_wins: bool
    allowed_keys: list[str]
    last_version: int
    application_status: Annotated[Literal["idle", "running", "done", "error"], OPEN]
    environment_id: str
    created_at: datetime
    organization_id: str


class CreatedApplication(Model):
    """An application that was stored just now."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    application_id: str
    name: str
    app_name: str
    description: str
    source_type: Annotated[Literal["docker", "git", "drop"], OPEN] | None
    docker_image: str | None
    custom_git_url: str | None
    custom_git_branch: str | None
    custom_git_commit: str | None
    custom_git_build_path: str
    custom_git_username: str | None
    has_custom_git_token: bool
    custom_git_ssh_public_key: str | None = Field(
        validation_alias="customGitSSHPublicKey", serialization_alias="customGitSSHPublicKey"
    )
    custom_git_ssh_fingerprint: str | None = Field(
        validation_alias="customGitSSHFingerprint", serialization_alias="customGitSSHFingerprint"
    )
    custom_git_host_key: str | None
    build_type: Literal["dockerfile"]
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
    ports: list[Port]
    mounts: list[Mount]
    replicas: int
    runtime: Annotated[Literal["container", "service", "none"], OPEN]
    stop_signal: str | None
    stop_grace_seconds: int
    rollout_batch: int
    rollout_on_failure: Annotated[Literal["stop", "rollback"], OPEN]
    rollbacks_to_keep: int
    latest_wins: bool
    allowed_keys: list[str]
    last_version: int
    application_status: Annotated[Literal["idle", "running", "done", "error"], OPEN]
    environment_id: str
    created_at: datetime
    organization_id: str


class AuditExport(Model):
    """A part of the log, the oldest entries first.

    The first part has the public keys and the closed segments, the last part has the `end`.
    """

    public_keys: list[str]
    segments: list[AuditSegment]
    checkpoints: list[AuditCheckpoint]
    entries: list[AuditChainEntry]
    end: AuditEnd | None


class AuditLogPage(Model):
    """Entries, the newest first; `nextCursor` is null on the last page."""

    entries: list[AuditLogEntry]
    next_cursor: str | None


class ChangedServer(Model):
    """A changed server."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    server_id: str
    name: str
    description: str
    roles: list[Annotated[Literal["deploy", "build"], OPEN]]
    created_at: datetime
    organization_id: str
    online: bool
    approved_at: datetime | None
    seen_at: datetime | None
    offline_since: datetime | None
    worker_version: str | None
    clock_ahead_seconds: float | None
    platform: str | None
    kinds: list[str]
    quick_limit: int
    transfer_limit: int
    build_limit: int
    draining: bool
    paused_at: datetime | None
    paused_classes: list[JobClass]
    drain_requested_at: datetime | None
    engine: dict[str, JsonValue] | None
    second_worker_at: datetime | None
    server_type: Annotated[Literal["deploy", "build"], OPEN]
    server_status: Annotated[Literal["active", "inactive"], OPEN]
    ip_address: str
    networks: list[str]
    port: int | None = None
    ssh_key_id: str | None = None


class CreatedServer(Model):
    """`joinToken` is shown only once and is valid for one enrolment within 15 minutes.

    A server that joins pins the internal CA by its `caSha256`.
    """

    warnings: list[FieldWarning] = Field(default_factory=list)
    server_id: str
    name: str
    description: str
    roles: list[Annotated[Literal["deploy", "build"], OPEN]]
    created_at: datetime
    organization_id: str
    online: bool
    approved_at: datetime | None
    seen_at: datetime | None
    offline_since: datetime | None
    worker_version: str | None
    clock_ahead_seconds: float | None
    platform: str | None
    kinds: list[str]
    quick_limit: int
    transfer_limit: int
    build_limit: int
    draining: bool
    paused_at: datetime | None
    paused_classes: list[JobClass]
    drain_requested_at: datetime | None
    engine: dict[str, JsonValue] | None
    second_worker_at: datetime | None
    server_type: Annotated[Literal["deploy", "build"], OPEN]
    server_status: Annotated[Literal["active", "inactive"], OPEN]
    ip_address: str
    networks: list[str]
    port: int | None = None
    ssh_key_id: str | None = None
    join_token: str = Field(repr=False)
    ca_sha256: str | None


class Server(Model):
    """A server, and whether its worker is online.

    `engine` describes its Docker Engine, at most a minute old; empty while the Engine does not
    answer. `clockAheadSeconds` is its clock minus the database's. It gets no new jobs while it
    is `draining`, none of its `pausedClasses`, and none before it is approved on a control
    host: `wharf server approve`. With `drainRequestedAt` all classes are paused, running
    transfers are handed back, and it is empty once its other running jobs have ended.
    `secondWorkerAt` is the time, in the last week, when two workers used its state directory.

    For clients of Dokploy `serverType` is `build` for a server that only builds, and
    `serverStatus` says whether it is online. `ipAddress` is the one that was given, else the
    address from which its worker last registered at PostgreSQL, which may be that of a gateway;
    empty if neither is known. Nothing connects to a server, so it has no `port` and no SSH key.
    Its worker joins and fetches uploads only from `networks`; if it is empty, from all.
    """

    server_id: str
    name: str
    description: str
    roles: list[Annotated[Literal["deploy", "build"], OPEN]]
    created_at: datetime
    organization_id: str
    online: bool
    approved_at: datetime | None
    seen_at: datetime | None
    offline_since: datetime | None
    worker_version: str | None
    clock_ahead_seconds: float | None
    platform: str | None
    kinds: list[str]
    quick_limit: int
    transfer_limit: int
    build_limit: int
    draining: bool
    paused_at: datetime | None
    paused_classes: list[JobClass]
    drain_requested_at: datetime | None
    engine: dict[str, JsonValue] | None
    second_worker_at: datetime | None
    server_type: Annotated[Literal["deploy", "build"], OPEN]
    server_status: Annotated[Literal["active", "inactive"], OPEN]
    ip_address: str
    networks: list[str]
    port: int | None = None
    ssh_key_id: str | None = None


class ControlledServer(Model):
    """One server, and the state of its job; one that has not ended continues, see `job.one`.

    `changed` is false where it was stopped, or ran, already.
    """

    server_id: str
    job_id: str
    state: JobState
    changed: bool | None


class JobCancellation(Model):
    """The state after the request; a running job ends when its worker has stopped it."""

    state: JobState


class JobEvent(Model):
    """A dated event of a job; `seq` counts a job's events without gaps."""

    seq: int
    attempt: int
    kind: str
    state: JobState | None
    data: JsonValue
    at: datetime


class RegistryCheck(Model):
    """The state of one test, or its outcome at `checkedAt`."""

    job_id: str
    state: JobState
    code: str | None
    stage: str | None
    remedy: str | None
    milliseconds: float | None
    checked_at: datetime | None


class DigestVerification(Model):
    """The result of control's own check that the registry has the pushed digest.

    `verified`: it has the digest; `missing`: it does not; `not_reached`: control got no answer,
    `code` is the cause.
    """

    outcome: DigestOutcome
    code: str | None
    checked_at: datetime


class Excess(Model):
    """A right of a login beyond pull and push in the tested repository."""

    code: ExcessCode
    message: str


class RotationTest(Model):
    """The test of the new login from one server; the job's error has the whole report."""

    server_id: str
    server_name: str
    state: Finding
    job_id: str | None
    code: str | None
    message: str | None
    remedy: str | None


class InspectedImage(Model):
    """An image as its registry has it; `sizeBytes` counts each blob of all platforms once.

    `createdAt` and `labels` are those of one platform. `artifactType` is empty for an image.
    `running` are the places whose recorded digest this is. `gaps` say what cannot be read.
    Without `registryId` it was read without a login.
    """

    reference: str
    registry_id: str | None
    server_id: str
    digest: str
    media_type: str
    artifact_type: str
    size_bytes: int
    created_at: datetime | None
    labels: dict[str, str]
    platforms: list[Platform]
    attachments: list[Attachment]
    running: list[RunningPlace]
    gaps: list[str]
    asked_at: datetime


class ListedJob(Model):
    """A job of a list, and why it waits (`waiting`) if it is queued."""

    job_id: str
    organization_id: str
    server_id: str
    registry_id: str | None
    kind: str
    state: JobState
    priority: int
    command: dict[str, JsonValue]
    attempt: int
    failures: int
    max_failures: int
    progress: dict[str, JsonValue] | None
    result: dict[str, JsonValue] | None
    error: dict[str, JsonValue] | None
    requested_by: str | None
    retry_of: str | None
    created_at: datetime
    run_at: datetime
    deadline_at: datetime | None
    dispatched_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    waiting: WaitingReason | None


class JobStatistics(Model):
    """Counts of the newest 20,000 jobs of the span; `now` counts all that have not ended."""

    hours: list[HourOfJobs]
    codes: list[CodeOfJobs]
    slowest: list[SlowTransfer]
    now: JobsNow


class ListedMember(Model):
    """A member, as the list of members shows it."""

    id: str
    organization_id: str
    user_id: str
    role: Annotated[Literal["owner", "admin", "member", "viewer"], OPEN]
    created_at: datetime
    user: User
    signed_in_at: datetime | None
    has_second_factor: bool
    networks: list[str]


class Member(Model):
    """A member of an organization, as Dokploy shows one."""

    id: str
    organization_id: str
    user_id: str
    role: Annotated[Literal["owner", "admin", "member", "viewer"], OPEN]
    created_at: datetime
    user: User


class LoginLife(Model):
    """The use of the stored login, to the minute.

    `untested`: the registry has yet to accept it, or has refused it once; one job at a time
    tries it. `refused`: it is sent nowhere. A server with two refusals gets no jobs with it.
    """

    state: Annotated[Literal["accepted", "untested", "refused"], OPEN]
    last_used_at: datetime | None
    last_used_job_id: str | None
    last_used_server_id: str | None
    last_accepted_at: datetime | None
    refusals: list[RefusedLogin]


class Matches(Model):
    """What was found. Of so many running applications nobody knows: their images have no SBOM.

    `leftOut` matches are not listed.
    """

    matches: list[Match]
    left_out: int
    applications_without_sbom: int


class Policy(Model):
    """A policy; `source` says whether it is the application's own or the organization's.

    One signature by any of the keys is enough, and one attestation of each of `predicateTypes`.
    A ready image of one of the `publishers` has to be signed by that publisher instead. Builds
    may use bases of `baseRegistries` only, if there are any; bases of publishers have to be
    signed too.
    """

    mode: Annotated[Literal["off", "warn", "enforce"], OPEN]
    signing_key_ids: list[str]
    predicate_types: list[str]
    base_registries: list[str]
    publishers: list[Publisher]
    source: Annotated[Literal["application", "organization"], OPEN]


class ProbeStageResult(Model):
    """One stage; `evidence` is a sentence without secrets."""

    stage: ProbeStage
    outcome: ProbeOutcome
    code: FaultCode | None = None
    milliseconds: float = 0.0
    evidence: str = ""
    remedy: str = ""
    retry_after_seconds: float | None = None


class QueuedDeployment(Model):
    """A deployment that has not ended; times are in milliseconds since 1970."""

    id: str
    name: Literal["deployments"] = "deployments"
    data: QueuedData
    state: Annotated[Literal["waiting", "active"], OPEN]
    timestamp: int
    processed_on: int | None
    finished_on: int | None = None
    failed_reason: str | None = None


class RegistryUses(Model):
    """The users of a registry; `deployHooks` are those of the applications."""

    applications: list[UsingApplication]
    rollback_points: int
    deploy_hooks: int


class RestoredDatabase(Model):
    """Jobs, keys and hooks of the backup, if the database was restored from one.

    The jobs wait: they may have run, or been cancelled, since the backup was made. The keys and
    deploy hooks work, also those that were removed since then: remove these again.
    """

    held_at: datetime | None
    waiting_job_ids: list[str]
    api_keys: list[ApiKey]
    deploy_hooks: list[RestoredDeployHook]


class ScanPolicy(Model):
    """A policy; `source` says whether it is the application's own or the organization's."""

    sbom: Annotated[Literal["off", "spdx", "cyclonedx"], OPEN]
    mode: Annotated[Literal["off", "warn", "enforce"], OPEN]
    max_severity: Annotated[Literal["none", "low", "medium", "high"], OPEN]
    exceptions: list[ScanException]
    source: Annotated[Literal["application", "organization"], OPEN]


class ScanSummary(Model):
    """What is known about an image in short: `null` is what was not made."""

    packages: int | None
    counts: SeverityCounts | None
    scanned_at: datetime | None


class ServerPathCheck(Model):
    """`isGood`: the Engine answered. A job passes the `parts` in this order."""

    server_id: str
    job_id: str
    is_good: bool
    parts: list[ServerPathPart]


class ServerValidation(Model):
    """`isGood`: no check failed."""

    server_id: str
    is_good: bool
    checks: list[ServerValidationCheck]


class VerifiedImage(Model):
    """What is proved about an image. It is `verified` if there are no `violations`.

    `gaps` say what could not be read.
    """

    reference: str
    digest: str
    verified: bool
    proofs: list[Proof]
    violations: list[Violation]
    gaps: list[str]


class Vulnerabilities(Model):
    """The report of a scanner. `databaseBuiltAt` tells how new its knowledge was.

    `findings` are those that were not excepted, the most severe first, then excepted ones. The
    last `leftOut` ones are counted, but not listed.
    """

    scanner: Annotated[Literal["trivy", "grype"], OPEN]
    scanner_version: str
    database_built_at: datetime | None
    counts: SeverityCounts
    excepted: int
    findings: list[Vulnerability]
    left_out: int


class Environment(Model):
    """The one environment, with all applications. Its other lists are empty."""

    environment_id: str
    project_id: str
    name: str = "production"
    description: str = ""
    env: str = ""
    is_default: bool = True
    created_at: datetime
    applications: list[Application]
    compose: list[Nothing] = Field(default_factory=list)
    libsql: list[Nothing] = Field(default_factory=list)
    mariadb: list[Nothing] = Field(default_factory=list)
    mongo: list[Nothing] = Field(default_factory=list)
    mysql: list[Nothing] = Field(default_factory=list)
    postgres: list[Nothing] = Field(default_factory=list)
    redis: list[Nothing] = Field(default_factory=list)


class FoundApplications(Model):
    """A page of the applications that were found; `total` counts all of them."""

    items: list[Application]
    total: int


ApplicationChange = bool | ChangedApplication
"""`true`, as Dokploy answers; the application with `warnings` if a field was not stored."""


class ControlledApplication(Model):
    """The application, and what was done on its servers; `jobId` is the first job."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    job_id: str
    application_id: str
    name: str
    app_name: str
    description: str
    source_type: Annotated[Literal["docker", "git", "drop"], OPEN] | None
    docker_image: str | None
    custom_git_url: str | None
    custom_git_branch: str | None
    custom_git_commit: str | None
    custom_git_build_path: str
    custom_git_username: str | None
    has_custom_git_token: bool
    custom_git_ssh_public_key: str | None = Field(
        validation_alias="customGitSSHPublicKey", serialization_alias="customGitSSHPublicKey"
    )
    custom_git_ssh_fingerprint: str | None = Field(
        validation_alias="customGitSSHFingerprint", serialization_alias="customGitSSHFingerprint"
    )
    custom_git_host_key: str | None
    build_type: Literal["dockerfile"]
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
    ports: list[Port]
    mounts: list[Mount]
    replicas: int
    runtime: Annotated[Literal["container", "service", "none"], OPEN]
    stop_signal: str | None
    stop_grace_seconds: int
    rollout_batch: int
    rollout_on_failure: Annotated[Literal["stop", "rollback"], OPEN]
    rollbacks_to_keep: int
    latest_wins: bool
    allowed_keys: list[str]
    last_version: int
    application_status: Annotated[Literal["idle", "running", "done", "error"], OPEN]
    environment_id: str
    created_at: datetime
    organization_id: str
    servers: list[ControlledServer]


class RegistryMatrixCell(Model):
    """The newest test of a registry from a server, and earlier ones, the newest first."""

    job_id: str
    state: JobState
    code: str | None
    stage: str | None
    remedy: str | None
    milliseconds: float | None
    checked_at: datetime | None
    registry_id: str
    registry_name: str
    plain_http: bool
    server_id: str
    server_name: str
    history: list[RegistryCheck]


class JobDetail(Model):
    """A job with its attempts, its newest events, and why it waits (`waiting`) if it is queued.

    `verification` appears shortly after a push or a copy succeeded. `flowerUrl` shows the
    newest attempt in Flower.
    """

    job_id: str
    organization_id: str
    server_id: str
    registry_id: str | None
    kind: str
    state: JobState
    priority: int
    command: dict[str, JsonValue]
    attempt: int
    failures: int
    max_failures: int
    progress: dict[str, JsonValue] | None
    result: dict[str, JsonValue] | None
    error: dict[str, JsonValue] | None
    requested_by: str | None
    retry_of: str | None
    created_at: datetime
    run_at: datetime
    deadline_at: datetime | None
    dispatched_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None
    waiting: WaitingReason | None
    verification: DigestVerification | None
    attempts: list[JobAttempt]
    events: list[JobEvent]
    flower_url: str | None


class Rotation(Model):
    """A change of a registry's login.

    `state` is `testing` before the new login is in use; `switched` while the old one is kept,
    until `keptUntil`; `dropped` after that. It ends as `rolled_back`, `refused` or `cancelled`
    if the old login is in use again, or still. `jobsWithOldLogin` are running jobs that began
    before the switch, or null for a moment after it: revoke the old login at the registry once
    there are none.
    """

    rotation_id: str
    state: RotationState
    forced: bool
    tests: list[RotationTest]
    error: CredentialFault | None
    jobs_with_old_login: int | None
    created_at: datetime
    switched_at: datetime | None
    kept_until: datetime | None
    finished_at: datetime | None


class StartedRotation(Model):
    """A rotation that was just requested."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    rotation_id: str
    state: RotationState
    forced: bool
    tests: list[RotationTest]
    error: CredentialFault | None
    jobs_with_old_login: int | None
    created_at: datetime
    switched_at: datetime | None
    kept_until: datetime | None
    finished_at: datetime | None


class JobPage(Model):
    """A page, the newest jobs first; `nextCursor` selects the next page of older ones."""

    jobs: list[ListedJob]
    next_cursor: str | None


class ProbeReport(Model):
    """All stages of a test; `host` and `repository` are empty where they could not be read.

    `excess` is what the login may do beyond need, as far as that is known.
    """

    host: str = ""
    repository: str = ""
    stages: list[ProbeStageResult]
    verified: list[str] = Field(default_factory=list)
    not_verified: list[str] = Field(default_factory=list)
    excess: list[Excess] = Field(default_factory=list)


class CreatedRegistry(Model):
    """A registry that was just stored."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    registry_id: str
    registry_name: str
    image_prefix: str | None
    username: str
    registry_url: str
    created_at: datetime
    registry_type: Annotated[Literal["cloud", "selfHosted"], OPEN]
    organization_id: str
    allowed_servers: list[str]
    allowed_applications: list[str]
    provider: Provider
    password_changed_at: datetime
    password_expires_at: datetime | None
    password_due_at: datetime
    rotate_after_days: int | None
    credential: dict[str, JsonValue] | None = None
    credential_error: CredentialFault | None = None
    quota: Quota | None = None
    ca_certificates: list[Certificate] = Field(default_factory=list)
    client_identity: Certificate | None = None
    install_ca: bool = False
    plain_http: bool = False
    login: LoginLife | None = None
    used_by: RegistryUses | None = None


class Registry(Model):
    """A registry. No answer contains its password, or a secret of its credential.

    `provider` is recognised by the host. `passwordExpiresAt` is known of tokens that contain
    it. The password is due for a change at `passwordDueAt`, `rotateAfterDays` after the last
    one; null are the days of `organization.settings`. `quota` is the limit of pulls, if the
    registry has one and a worker has seen it. With `plainHttp`, the login may be sent without
    TLS. `usedBy` is answered by `registry.one`.
    """

    registry_id: str
    registry_name: str
    image_prefix: str | None
    username: str
    registry_url: str
    created_at: datetime
    registry_type: Annotated[Literal["cloud", "selfHosted"], OPEN]
    organization_id: str
    allowed_servers: list[str]
    allowed_applications: list[str]
    provider: Provider
    password_changed_at: datetime
    password_expires_at: datetime | None
    password_due_at: datetime
    rotate_after_days: int | None
    credential: dict[str, JsonValue] | None = None
    credential_error: CredentialFault | None = None
    quota: Quota | None = None
    ca_certificates: list[Certificate] = Field(default_factory=list)
    client_identity: Certificate | None = None
    install_ca: bool = False
    plain_http: bool = False
    login: LoginLife | None = None
    used_by: RegistryUses | None = None


class AcceptedBuild(Model):
    """A stored build; `jobId` is its first job."""

    warnings: list[FieldWarning] = Field(default_factory=list)
    job_id: str
    build_id: str
    application_id: str
    version: int
    title: str
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"],
        OPEN,
    ]
    reference: str
    retained: str | None
    digest: str | None
    revision: str | None
    error: dict[str, JsonValue] | None
    job_ids: list[str]
    created_at: datetime
    finished_at: datetime | None
    image_deleted_at: datetime | None
    scan: ScanSummary | None


class Build(Model):
    """A build of an application; after a success, `reference` and `digest` name its image.

    After `imageDeletedAt` the image cannot be run: it was deleted with its last rollback point.
    `jobIds` are the jobs of its steps in order: make, push, retain, scan. `scan` is what is
    known about its image.
    """

    build_id: str
    application_id: str
    version: int
    title: str
    state: Annotated[
        Literal["queued", "running", "succeeded", "failed", "cancelled", "superseded", "expired"],
        OPEN,
    ]
    reference: str
    retained: str | None
    digest: str | None
    revision: str | None
    error: dict[str, JsonValue] | None
    job_ids: list[str]
    created_at: datetime
    finished_at: datetime | None
    image_deleted_at: datetime | None
    scan: ScanSummary | None


class Report(Model):
    """What is known about an image: its newest SBOM and its newest scan; either may be missing.

    `reference` is the image, and `serverId` the server, of the last job.
    """

    digest: str
    reference: str
    server_id: str
    sbom: Sbom | None
    sbom_at: datetime | None
    vulnerabilities: Vulnerabilities | None
    scanned_at: datetime | None


class Project(Model):
    """The one project of the organization, with its one environment."""

    project_id: str
    name: str = "default"
    description: str = ""
    env: str = ""
    organization_id: str
    created_at: datetime
    environments: list[Environment]


class RegistryMatrix(Model):
    """Tested pairs of a registry and a server.

    `differences` has a sentence for each registry that works from some servers only, and why.
    """

    cells: list[RegistryMatrixCell]
    differences: list[str]


class RegistryWithRotation(Model):
    """A registry; if there was one, the newest rotation of its login; and, if tested, its excess.

    `excess` is that of the newest test of the present login, while the test's job is stored.
    """

    registry_id: str
    registry_name: str
    image_prefix: str | None
    username: str
    registry_url: str
    created_at: datetime
    registry_type: Annotated[Literal["cloud", "selfHosted"], OPEN]
    organization_id: str
    allowed_servers: list[str]
    allowed_applications: list[str]
    provider: Provider
    password_changed_at: datetime
    password_expires_at: datetime | None
    password_due_at: datetime
    rotate_after_days: int | None
    credential: dict[str, JsonValue] | None = None
    credential_error: CredentialFault | None = None
    quota: Quota | None = None
    ca_certificates: list[Certificate] = Field(default_factory=list)
    client_identity: Certificate | None = None
    install_ca: bool = False
    plain_http: bool = False
    login: LoginLife | None = None
    used_by: RegistryUses | None = None
    excess: list[Excess] | None = None
    rotation: Rotation | None = None
