"""Faults of registries and Engines: stable codes, whether to retry, what to do.

A code is public and is never renamed. The table is the one place that decides on a retry.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class FaultCode(StrEnum):
    REF_INVALID = "ref_invalid"
    NETWORK_REFUSED = "network_refused"
    DNS_NOT_FOUND = "dns_not_found"
    DNS_FAILURE = "dns_failure"
    CONN_REFUSED = "conn_refused"
    CONN_TIMEOUT = "conn_timeout"
    CONN_RESET = "conn_reset"
    TLS_UNKNOWN_CA = "tls_unknown_ca"
    TLS_EXPIRED = "tls_expired"
    TLS_NAME_MISMATCH = "tls_name_mismatch"
    TLS_NOT_OFFERED = "tls_not_offered"
    TLS_FAILED = "tls_failed"
    TLS_CLIENT_CERT = "tls_client_cert"
    HTTP_TO_HTTPS = "http_to_https"
    AUTH_BAD_CREDENTIALS = "auth_bad_credentials"
    AUTH_MISSING = "auth_missing"
    AUTH_EXPIRED = "auth_expired"
    AUTH_SERVER_UNREACHABLE = "auth_server_unreachable"
    AUTH_UNSAFE_REALM = "auth_unsafe_realm"
    AUTH_NOT_CHECKED = "auth_not_checked"
    PULL_DENIED = "pull_denied"
    PUSH_DENIED = "push_denied"
    REPO_MISSING = "repo_missing"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_INCOMPLETE = "image_incomplete"
    NOT_AN_IMAGE = "not_an_image"
    LOCAL_IMAGE_MISSING = "local_image_missing"
    NOT_A_REGISTRY = "not_a_registry"
    BLOCKED_BY_PROXY = "blocked_by_proxy"
    PROXY_ERROR = "proxy_error"
    RATE_LIMITED = "rate_limited"
    REGISTRY_ERROR = "registry_error"
    DISK_FULL = "disk_full"
    PLATFORM_MISSING = "platform_missing"
    UPLOAD_CORRUPT = "upload_corrupt"
    TAG_IMMUTABLE = "tag_immutable"
    DELETE_UNSUPPORTED = "delete_unsupported"
    LAYER_TOO_LARGE = "layer_too_large"
    DIGEST_MISMATCH = "digest_mismatch"
    ENGINE_UNREACHABLE = "engine_unreachable"
    ENGINE_API_VERSION = "engine_api_version"
    ENGINE_STREAM_TRUNCATED = "engine_stream_truncated"
    ENGINE_STALLED = "engine_stalled"
    ENGINE_REFUSED = "engine_refused"
    TRANSFER_TIMEOUT = "transfer_timeout"
    BUILD_FAILED = "build_failed"
    CONTAINER_MISSING = "container_missing"
    CONTAINER_UNHEALTHY = "container_unhealthy"
    CONTAINER_EXITED = "container_exited"
    PORT_TAKEN = "port_taken"
    NAME_TAKEN = "name_taken"
    HOST_PATH_NOT_ALLOWED = "host_path_not_allowed"
    RESTORE_FAILED = "restore_failed"
    OTHER_RUNTIME = "other_runtime"
    NOT_A_SWARM_MANAGER = "not_a_swarm_manager"
    NO_SUITABLE_NODE = "no_suitable_node"
    SERVICE_MISSING = "service_missing"
    SERVICE_CHANGED = "service_changed"
    BUILD_SECRET_MISSING = "build_secret_missing"  # noqa: S105 - a code
    BUILD_UNSUPPORTED = "build_unsupported"
    DOCKERFILE_INVALID = "dockerfile_invalid"
    SOURCE_NOT_FOUND = "source_not_found"
    SOURCE_DENIED = "source_denied"
    SOURCE_UNREACHABLE = "source_unreachable"
    SOURCE_TOO_LARGE = "source_too_large"
    SOURCE_INVALID = "source_invalid"
    SOURCE_CORRUPT = "source_corrupt"
    SOURCE_ALTERED = "source_altered"
    SOURCE_INCOMPLETE = "source_incomplete"
    REVISION_NOT_FOUND = "revision_not_found"


@dataclass(frozen=True)
class Verdict:
    """The retry verdict of a fault, and its remedy."""

    retryable: bool
    remedy: str


FAULTS: dict[FaultCode, Verdict] = {
    FaultCode.REF_INVALID: Verdict(
        retryable=False, remedy="Use host[:port] for a registry and lower-case repository names."
    ),
    FaultCode.NETWORK_REFUSED: Verdict(
        retryable=False,
        remedy="The registry's address is not among WHARF_REGISTRY_NETWORKS; ask the operator.",
    ),
    FaultCode.DNS_NOT_FOUND: Verdict(
        retryable=False, remedy="Verify the registry URL, and that this server's DNS knows it."
    ),
    FaultCode.DNS_FAILURE: Verdict(
        retryable=True, remedy="This server's DNS resolver does not answer; check resolv.conf."
    ),
    FaultCode.CONN_REFUSED: Verdict(
        retryable=True,
        remedy="Nothing listens there: check the port, the firewall, and that the registry runs.",
    ),
    FaultCode.CONN_TIMEOUT: Verdict(
        retryable=True,
        remedy="Confirm that the registry can be reached from this server (firewall, VPN, route).",
    ),
    FaultCode.CONN_RESET: Verdict(
        retryable=True, remedy="The connection was cut: look for a middlebox or a busy registry."
    ),
    FaultCode.TLS_UNKNOWN_CA: Verdict(
        retryable=False,
        remedy="Add the registry's CA to this server's trusted certificates, and for Docker to "
        "/etc/docker/certs.d/HOST:PORT/ca.crt (no restart needed).",
    ),
    FaultCode.TLS_EXPIRED: Verdict(
        retryable=False, remedy="Renew the registry's certificate, or correct this server's clock."
    ),
    FaultCode.TLS_NAME_MISMATCH: Verdict(
        retryable=False, remedy="Use one of the names that the certificate is valid for."
    ),
    FaultCode.TLS_NOT_OFFERED: Verdict(
        retryable=False,
        remedy="The registry speaks plain HTTP: put TLS in front of it, or list it knowingly under "
        "insecure-registries of the server's Docker Engine.",
    ),
    FaultCode.TLS_FAILED: Verdict(
        retryable=False, remedy="The TLS handshake failed: compare TLS versions and certificates."
    ),
    FaultCode.TLS_CLIENT_CERT: Verdict(
        retryable=False, remedy="The registry asks for a client certificate."
    ),
    FaultCode.HTTP_TO_HTTPS: Verdict(
        retryable=False, remedy="The registry speaks HTTPS on this port: leave http:// out."
    ),
    FaultCode.AUTH_BAD_CREDENTIALS: Verdict(
        retryable=False,
        remedy="Check that the username and password are correct, not expired and not revoked; "
        "many registries want an access token in place of the password.",
    ),
    FaultCode.AUTH_MISSING: Verdict(
        retryable=False, remedy="No credential is bound to this registry's host: add a registry."
    ),
    FaultCode.AUTH_EXPIRED: Verdict(
        retryable=False, remedy="The token has expired: store a fresh one."
    ),
    FaultCode.AUTH_SERVER_UNREACHABLE: Verdict(
        retryable=True, remedy="The registry's token server cannot be reached from this server."
    ),
    FaultCode.AUTH_UNSAFE_REALM: Verdict(
        retryable=False,
        remedy="The registry names a token server that a password must not be sent to.",
    ),
    FaultCode.AUTH_NOT_CHECKED: Verdict(
        retryable=False,
        remedy="The registry asks nobody for a password, so this one is not verified; "
        "switch authentication on at the registry.",
    ),
    FaultCode.PULL_DENIED: Verdict(
        retryable=False, remedy="Verify the read permissions of this user on the repository."
    ),
    FaultCode.PUSH_DENIED: Verdict(
        retryable=False, remedy="Verify the write permissions of this user on the repository."
    ),
    FaultCode.REPO_MISSING: Verdict(
        retryable=False, remedy="Create the repository first; this registry does not do it itself."
    ),
    FaultCode.IMAGE_NOT_FOUND: Verdict(
        retryable=False, remedy="Check that the image exists, and its name and tag."
    ),
    FaultCode.IMAGE_INCOMPLETE: Verdict(
        retryable=False,
        remedy="The registry has lost a part of the image: push or build it again, or restore the "
        "registry's storage.",
    ),
    FaultCode.NOT_AN_IMAGE: Verdict(
        retryable=False,
        remedy="The reference names a chart, a signature or another artifact: give an image's.",
    ),
    FaultCode.LOCAL_IMAGE_MISSING: Verdict(
        retryable=False, remedy="The server has no such image: build, pull or tag it first."
    ),
    FaultCode.NOT_A_REGISTRY: Verdict(
        retryable=False, remedy="That address answers as a web page: give the registry's own host."
    ),
    FaultCode.BLOCKED_BY_PROXY: Verdict(
        retryable=False, remedy="A firewall or allow-list in front of the registry refuses us."
    ),
    FaultCode.PROXY_ERROR: Verdict(
        retryable=False, remedy="Check the proxy of the server's Docker Engine, and NO_PROXY."
    ),
    FaultCode.RATE_LIMITED: Verdict(
        retryable=True, remedy="Wait, pull with a login, or mirror the image in your own registry."
    ),
    FaultCode.REGISTRY_ERROR: Verdict(
        retryable=True, remedy="The registry itself failed; see its log."
    ),
    FaultCode.DISK_FULL: Verdict(
        retryable=False, remedy="Check the disk space on the server: prune images it can miss."
    ),
    FaultCode.PLATFORM_MISSING: Verdict(
        retryable=False, remedy="The image was not built for this server's platform."
    ),
    FaultCode.UPLOAD_CORRUPT: Verdict(
        retryable=True, remedy="The registry got other bytes than were sent; it is tried again."
    ),
    FaultCode.TAG_IMMUTABLE: Verdict(
        retryable=False, remedy="The registry does not let this tag be moved: choose a new one."
    ),
    FaultCode.DELETE_UNSUPPORTED: Verdict(
        retryable=False,
        remedy="The registry does not delete images for us: allow it there (docker-registry: "
        "REGISTRY_STORAGE_DELETE_ENABLED=true), or remove the image by hand.",
    ),
    FaultCode.LAYER_TOO_LARGE: Verdict(
        retryable=False,
        remedy="A proxy limits the size of uploads (nginx: client_max_body_size 0).",
    ),
    FaultCode.DIGEST_MISMATCH: Verdict(
        retryable=True, remedy="The registry answers another digest: somebody else moved the tag."
    ),
    FaultCode.ENGINE_UNREACHABLE: Verdict(
        retryable=True, remedy="Check that Docker runs on this server, and DOCKER_HOST."
    ),
    FaultCode.ENGINE_API_VERSION: Verdict(
        retryable=True, remedy="The Docker Engine changed its version under us; it is tried again."
    ),
    FaultCode.ENGINE_STREAM_TRUNCATED: Verdict(
        retryable=True, remedy="The Docker Engine stopped in the middle; it is tried again."
    ),
    FaultCode.ENGINE_STALLED: Verdict(
        retryable=True, remedy="No byte moved for too long: check the link to the registry."
    ),
    FaultCode.ENGINE_REFUSED: Verdict(
        retryable=False, remedy="The Docker Engine refused; its own words are in the message."
    ),
    FaultCode.TRANSFER_TIMEOUT: Verdict(
        retryable=True, remedy="The attempt ran into its time limit; raise it for slow links."
    ),
    FaultCode.BUILD_FAILED: Verdict(
        retryable=False, remedy="A step of the Dockerfile failed; the lines before it say why."
    ),
    FaultCode.CONTAINER_MISSING: Verdict(
        retryable=True,
        remedy="The container was removed meanwhile; it is tried again.",
    ),
    FaultCode.CONTAINER_UNHEALTHY: Verdict(
        retryable=False,
        remedy="The new container did not pass its health check; what ran before still runs.",
    ),
    FaultCode.CONTAINER_EXITED: Verdict(
        retryable=False,
        remedy="The new container ended by itself, its last lines say why; what ran before still "
        "runs.",
    ),
    FaultCode.PORT_TAKEN: Verdict(
        retryable=False,
        remedy="Another program on the server listens there: stop it, or publish another port.",
    ),
    FaultCode.NAME_TAKEN: Verdict(
        retryable=False,
        remedy="A container or service of this name is somebody else's: rename or remove it.",
    ),
    FaultCode.HOST_PATH_NOT_ALLOWED: Verdict(
        retryable=False,
        remedy="Mount a named volume, or list a directory in WHARF_HOST_PATHS of this server's "
        "worker, which has to see it under the same path.",
    ),
    FaultCode.RESTORE_FAILED: Verdict(
        retryable=True,
        remedy="The new container failed, and what ran before could not be started again; it is "
        "tried again. Look at the Docker Engine of this server.",
    ),
    FaultCode.OTHER_RUNTIME: Verdict(
        retryable=False,
        remedy="Remove that on this server (docker rm --force, docker service rm) and deploy "
        "again, or give the application its former runtime.",
    ),
    FaultCode.NOT_A_SWARM_MANAGER: Verdict(
        retryable=False,
        remedy="Run docker swarm init on this server, choose one that manages a Swarm, or give the "
        "application the runtime container.",
    ),
    FaultCode.NO_SUITABLE_NODE: Verdict(
        retryable=False,
        remedy="No node of the Swarm can take it: see docker node ls; a port in mode host is there "
        "once a node.",
    ),
    FaultCode.SERVICE_MISSING: Verdict(
        retryable=True, remedy="The service was removed meanwhile; it is tried again."
    ),
    FaultCode.SERVICE_CHANGED: Verdict(
        retryable=True, remedy="Somebody else changed the service meanwhile; it is tried again."
    ),
    FaultCode.BUILD_SECRET_MISSING: Verdict(
        retryable=False,
        remedy="The Dockerfile mounts a secret that the application does not have: give it in "
        "buildSecrets of application.saveEnvironment.",
    ),
    FaultCode.BUILD_UNSUPPORTED: Verdict(
        retryable=False,
        remedy="The Dockerfile asks for what this server's builder cannot do: ssh mounts, or "
        "BuildKit where the Engine has none.",
    ),
    FaultCode.DOCKERFILE_INVALID: Verdict(
        retryable=False, remedy="Check the Dockerfile, its path in the context, and its stages."
    ),
    FaultCode.SOURCE_NOT_FOUND: Verdict(
        retryable=False,
        remedy="Check the repository's URL; a private one needs a token that may read it.",
    ),
    FaultCode.SOURCE_DENIED: Verdict(
        retryable=False,
        remedy="Check that the token is correct, not expired, and may read the repository.",
    ),
    FaultCode.SOURCE_UNREACHABLE: Verdict(
        retryable=True, remedy="Confirm that the git server can be reached from this server."
    ),
    FaultCode.SOURCE_TOO_LARGE: Verdict(
        retryable=False, remedy="Make the sources smaller: leave out what the build does not need."
    ),
    FaultCode.SOURCE_INVALID: Verdict(
        retryable=False,
        remedy="The sources hold paths or links that lead out of them, or no plain files.",
    ),
    FaultCode.SOURCE_CORRUPT: Verdict(
        retryable=False,
        remedy="The upload is damaged or was cut. Pack it anew, upload it, and build that.",
    ),
    FaultCode.SOURCE_ALTERED: Verdict(
        retryable=True,
        remedy="The sources changed on their way to this server. If it happens again, upload them "
        "again.",
    ),
    FaultCode.SOURCE_INCOMPLETE: Verdict(
        retryable=False,
        remedy="Make the submodules and LFS files readable for the application's login, or build "
        "without them: allowMissing.",
    ),
    FaultCode.REVISION_NOT_FOUND: Verdict(
        retryable=False, remedy="Check that the branch, tag or commit exists and was pushed."
    ),
}


class Fault(BaseModel):
    """The error of a job or a stage, as stored and shown: no secret, no whole response."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    code: str
    message: str
    remedy: str = ""
    retryable: bool = False
    stage: str | None = None
    evidence: str = ""
    retry_after_seconds: float | None = None
