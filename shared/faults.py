"""Faults of registries and Engines: stable codes, retry verdicts, remedies.

A code is public and is never renamed. Only this table decides whether to retry.
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
    NO_ROUTE = "no_route"
    TLS_UNKNOWN_CA = "tls_unknown_ca"
    TLS_EXPIRED = "tls_expired"
    TLS_NAME_MISMATCH = "tls_name_mismatch"
    TLS_NOT_OFFERED = "tls_not_offered"
    TLS_FAILED = "tls_failed"
    TLS_CLIENT_CERT = "tls_client_cert"
    PLAIN_HTTP_REFUSED = "plain_http_refused"
    HTTP_TO_HTTPS = "http_to_https"
    AUTH_BAD_CREDENTIALS = "auth_bad_credentials"
    AUTH_MISSING = "auth_missing"
    AUTH_EXPIRED = "auth_expired"
    AUTH_SERVER_UNREACHABLE = "auth_server_unreachable"
    AUTH_UNSAFE_REALM = "auth_unsafe_realm"
    AUTH_NOT_CHECKED = "auth_not_checked"
    CREDENTIAL_REFUSED = "credential_refused"
    CREDENTIAL_DENIED = "credential_denied"
    MACHINE_IDENTITY_OFF = "machine_identity_off"
    PULL_DENIED = "pull_denied"
    PUSH_DENIED = "push_denied"
    REPO_MISSING = "repo_missing"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_INCOMPLETE = "image_incomplete"
    NOT_AN_IMAGE = "not_an_image"
    COMPRESSION_UNSUPPORTED = "compression_unsupported"
    LOCAL_IMAGE_MISSING = "local_image_missing"
    NOT_A_REGISTRY = "not_a_registry"
    BLOCKED_BY_PROXY = "blocked_by_proxy"
    PROXY_ERROR = "proxy_error"
    RATE_LIMITED = "rate_limited"
    REGISTRY_ERROR = "registry_error"
    REGISTRY_READ_ONLY = "registry_read_only"
    QUOTA_EXCEEDED = "quota_exceeded"
    LOCATION_MISMATCH = "location_mismatch"
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
    ENGINE_BUSY = "engine_busy"
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
    HOST_KEY_NOT_PINNED = "host_key_not_pinned"
    HOST_KEY_CHANGED = "host_key_changed"
    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_INVALID = "signature_invalid"
    SIGNATURE_UNTRUSTED = "signature_untrusted"
    ATTESTATION_MISSING = "attestation_missing"
    SCANNER_MISSING = "scanner_missing"
    SCAN_FAILED = "scan_failed"
    VULNERABILITIES_FOUND = "vulnerabilities_found"
    BASE_NOT_ALLOWED = "base_not_allowed"


@dataclass(frozen=True)
class Verdict:
    """The retry verdict of a fault, and its remedy.

    ``certain`` is for a code that was read from an Engine's words: if it is not set, other causes
    have the same words, and the registry is to be asked before the code is believed.
    """

    retryable: bool
    remedy: str
    certain: bool = True


NEXT_ATTEMPT = "Nothing is to be done if the next attempt succeeds."

FAULTS: dict[FaultCode, Verdict] = {
    FaultCode.REF_INVALID: Verdict(
        retryable=False, remedy="Use host[:port] for a registry and lower-case repository names."
    ),
    FaultCode.NETWORK_REFUSED: Verdict(
        retryable=False,
        remedy="Ask the operator to add the registry's address to WHARF_REGISTRY_NETWORKS.",
    ),
    FaultCode.DNS_NOT_FOUND: Verdict(
        retryable=False,
        remedy="Check the registry URL, and that this server's DNS resolves it.",
        certain=False,
    ),
    FaultCode.DNS_FAILURE: Verdict(
        retryable=True,
        remedy="Check resolv.conf and the DNS resolver of this server: dig shows what it answers.",
        certain=False,
    ),
    FaultCode.CONN_REFUSED: Verdict(
        retryable=True,
        remedy="Check the host and port in the message, the firewalls on the way to it, and that "
        "the registry runs.",
        certain=False,
    ),
    FaultCode.CONN_TIMEOUT: Verdict(
        retryable=True,
        remedy="Check that this server can reach the registry (firewall, VPN, route).",
        certain=False,
    ),
    FaultCode.CONN_RESET: Verdict(
        retryable=True,
        remedy="Check the registry, and the proxies and firewalls on the way to it.",
        certain=False,
    ),
    FaultCode.NO_ROUTE: Verdict(
        retryable=True,
        remedy="Check this server's routes, VPN and firewall: ip route get shows the way to an "
        "address.",
        certain=False,
    ),
    FaultCode.TLS_UNKNOWN_CA: Verdict(
        retryable=False,
        remedy="Store the registry's CA with registry.update (caCertificate), and for Docker in "
        "/etc/docker/certs.d/HOST:PORT/ca.crt (no restart needed), or let the worker put it there "
        "(installCa: true).",
        certain=False,
    ),
    FaultCode.TLS_EXPIRED: Verdict(
        retryable=False,
        remedy="Renew the registry's certificate, or correct this server's clock.",
        certain=False,
    ),
    FaultCode.TLS_NAME_MISMATCH: Verdict(
        retryable=False, remedy="Use one of the names in the registry's certificate.", certain=False
    ),
    FaultCode.TLS_NOT_OFFERED: Verdict(
        retryable=False,
        remedy="The registry uses plain HTTP: enable TLS. To use it as it is, an administrator has "
        "to allow it with registry.update (plainHttp: true), and it has to be in "
        "insecure-registries of the server's Docker Engine.",
        certain=False,
    ),
    FaultCode.TLS_FAILED: Verdict(
        retryable=False,
        remedy="Compare the TLS versions of this server and of the registry: openssl s_client "
        "-connect HOST:PORT shows them.",
        certain=False,
    ),
    FaultCode.TLS_CLIENT_CERT: Verdict(
        retryable=False,
        remedy="Store the client certificate that the registry requires, and its key, with "
        "registry.update (clientCertificate, clientKey), and for Docker as client.cert and "
        "client.key in /etc/docker/certs.d/HOST:PORT, or let the worker put them there "
        "(installCa: true).",
    ),
    FaultCode.PLAIN_HTTP_REFUSED: Verdict(
        retryable=False,
        remedy="Enable TLS at the registry. If the network in between is safe, let an "
        "administrator allow plain HTTP with registry.update (plainHttp: true).",
        certain=False,
    ),
    FaultCode.HTTP_TO_HTTPS: Verdict(
        retryable=False,
        remedy="The registry uses HTTPS on this port: leave http:// out.",
        certain=False,
    ),
    FaultCode.AUTH_BAD_CREDENTIALS: Verdict(
        retryable=False,
        remedy="Check that the username and password are correct, and not expired, revoked or "
        "locked; many registries require an access token instead of the password.",
        certain=False,
    ),
    FaultCode.AUTH_MISSING: Verdict(
        retryable=False,
        remedy="If the image is public, check its name: a registry may ask for a login for what "
        "does not exist. Otherwise store the registry with its login by registry.create, and give "
        "its registryId in the request.",
        certain=False,
    ),
    FaultCode.AUTH_EXPIRED: Verdict(
        retryable=False,
        remedy="Get a new token from the registry, and store it with registry.update.",
    ),
    FaultCode.AUTH_SERVER_UNREACHABLE: Verdict(
        retryable=True,
        remedy="Check the token server that the message names, and that this server can reach it.",
        certain=False,
    ),
    FaultCode.AUTH_UNSAFE_REALM: Verdict(
        retryable=False,
        remedy="Correct the realm in the registry's settings. If the registry has TLS, set an "
        "https:// address with a valid certificate. If it has no TLS, set its own address.",
    ),
    FaultCode.AUTH_NOT_CHECKED: Verdict(
        retryable=False,
        remedy="Turn on authentication at the registry, also at /v2/, or use it without a login.",
    ),
    FaultCode.CREDENTIAL_REFUSED: Verdict(
        retryable=False,
        remedy="Create a new key at the provider, and store it with registry.update.",
    ),
    FaultCode.CREDENTIAL_DENIED: Verdict(
        retryable=False,
        remedy="Grant the permission that the message names at the provider, then test the "
        "registry again.",
    ),
    FaultCode.MACHINE_IDENTITY_OFF: Verdict(
        retryable=False,
        remedy="Let the operator set WHARF_MACHINE_IDENTITY=true for wharf control, or store keys "
        "instead.",
    ),
    FaultCode.PULL_DENIED: Verdict(
        retryable=False,
        remedy="Check this user's read permission on the repository.",
        certain=False,
    ),
    FaultCode.PUSH_DENIED: Verdict(
        retryable=False,
        remedy="Check this user's write permission on the repository.",
        certain=False,
    ),
    FaultCode.REPO_MISSING: Verdict(
        retryable=False,
        remedy="Create the repository or project at the registry first.",
        certain=False,
    ),
    FaultCode.IMAGE_NOT_FOUND: Verdict(
        retryable=False,
        remedy="Check the image's name and tag. A registry may also hide an image from those who "
        "may not read it.",
        certain=False,
    ),
    FaultCode.IMAGE_INCOMPLETE: Verdict(
        retryable=False,
        remedy="Push or build the image again, or restore the registry's storage.",
        certain=False,
    ),
    FaultCode.NOT_AN_IMAGE: Verdict(
        retryable=False,
        remedy="Give the name of an image, not of a chart, a signature or another artifact.",
    ),
    FaultCode.COMPRESSION_UNSUPPORTED: Verdict(
        retryable=False,
        remedy="Update the Docker Engine of this server to version 23 or newer, or build the image "
        "with gzip layers.",
    ),
    FaultCode.LOCAL_IMAGE_MISSING: Verdict(
        retryable=False, remedy="Build, pull or tag the image on the server first."
    ),
    FaultCode.NOT_A_REGISTRY: Verdict(
        retryable=False,
        remedy="Give the registry's own host and port, without a path.",
        certain=False,
    ),
    FaultCode.BLOCKED_BY_PROXY: Verdict(
        retryable=False,
        remedy="Check firewalls and allow-lists in front of the registry.",
        certain=False,
    ),
    FaultCode.PROXY_ERROR: Verdict(
        retryable=False,
        remedy="Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY of this server's Docker Engine.",
        certain=False,
    ),
    FaultCode.RATE_LIMITED: Verdict(
        retryable=True,
        remedy="Wait. If pulls are limited, pull with a login, or copy the image to your own "
        "registry.",
    ),
    FaultCode.REGISTRY_ERROR: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise read the log of the registry, or the status page of its "
        "provider.",
        certain=False,
    ),
    FaultCode.REGISTRY_READ_ONLY: Verdict(
        retryable=False,
        remedy="Ask the registry's operator to end the read-only mode, or push to another "
        "registry.",
    ),
    FaultCode.QUOTA_EXCEEDED: Verdict(
        retryable=False,
        remedy="Delete images of this project or account at the registry, raise its quota, or give "
        "the registry a larger disk.",
    ),
    FaultCode.LOCATION_MISMATCH: Verdict(
        retryable=False,
        remedy="Correct the proxy in front of the registry: it must pass on the scheme, the host "
        "and the port (nginx: X-Forwarded-Proto $scheme, Host $http_host).",
    ),
    FaultCode.DISK_FULL: Verdict(
        retryable=False,
        remedy="Free space on the server's disk, for example remove unused images with docker "
        "image prune -a. It also removes builds that were not pushed.",
        certain=False,
    ),
    FaultCode.PLATFORM_MISSING: Verdict(
        retryable=False, remedy="Build the image for this server's platform too.", certain=False
    ),
    FaultCode.UPLOAD_CORRUPT: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise check the network and the proxies before the registry.",
        certain=False,
    ),
    FaultCode.TAG_IMMUTABLE: Verdict(retryable=False, remedy="Choose a new tag."),
    FaultCode.DELETE_UNSUPPORTED: Verdict(
        retryable=False,
        remedy="Enable deletion at the registry (docker-registry: "
        "REGISTRY_STORAGE_DELETE_ENABLED=true), or delete the image by hand.",
    ),
    FaultCode.LAYER_TOO_LARGE: Verdict(
        retryable=False,
        remedy="Raise the upload limit of the proxy (nginx: client_max_body_size 0).",
    ),
    FaultCode.DIGEST_MISMATCH: Verdict(
        retryable=True,
        remedy="If another client moved the tag meanwhile, repeat the request. Otherwise the image "
        "is damaged at the registry: push it again.",
    ),
    FaultCode.ENGINE_UNREACHABLE: Verdict(
        retryable=True,
        remedy="Check that Docker runs on this server and answers (docker version), and "
        "DOCKER_HOST of the worker.",
    ),
    FaultCode.ENGINE_API_VERSION: Verdict(
        retryable=True, remedy=f"{NEXT_ATTEMPT} Otherwise restart the worker of this server."
    ),
    FaultCode.ENGINE_STREAM_TRUNCATED: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise read the log of Docker on this server.",
        certain=False,
    ),
    FaultCode.ENGINE_STALLED: Verdict(
        retryable=True,
        remedy="Check the connection of this server to the registry.",
        certain=False,
    ),
    FaultCode.ENGINE_BUSY: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise cancel transfers of this server whose registry does not "
        "answer.",
    ),
    FaultCode.ENGINE_REFUSED: Verdict(
        retryable=False, remedy="See the Docker Engine's message.", certain=False
    ),
    FaultCode.TRANSFER_TIMEOUT: Verdict(
        retryable=True,
        remedy="Check the speed of this server's connection, and the load of the server.",
        certain=False,
    ),
    FaultCode.BUILD_FAILED: Verdict(
        retryable=False,
        remedy="Correct the step of the Dockerfile that the build's log shows last.",
    ),
    FaultCode.CONTAINER_MISSING: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise find out what removes containers on this server.",
    ),
    FaultCode.CONTAINER_UNHEALTHY: Verdict(
        retryable=False,
        remedy="Correct the new version or its health check. If a previous version ran, the "
        "previous version still runs.",
    ),
    FaultCode.CONTAINER_EXITED: Verdict(
        retryable=False,
        remedy="Read the container's last lines in the message, and all of them with "
        "deployment.readLogs. If a previous version ran, the previous version still runs.",
    ),
    FaultCode.PORT_TAKEN: Verdict(
        retryable=False,
        remedy="Stop the program that uses the port on the server, or publish another port.",
    ),
    FaultCode.NAME_TAKEN: Verdict(
        retryable=False,
        remedy="Rename or remove the container or service that has this name.",
    ),
    FaultCode.HOST_PATH_NOT_ALLOWED: Verdict(
        retryable=False,
        remedy="Mount a named volume, or list a directory in WHARF_HOST_PATHS of this server's "
        "worker, which needs it at the same path.",
    ),
    FaultCode.RESTORE_FAILED: Verdict(
        retryable=True,
        remedy="Check that Docker runs on this server. Each further attempt tries to start the "
        "previous version again.",
    ),
    FaultCode.OTHER_RUNTIME: Verdict(
        retryable=False,
        remedy="Set the application's runtime with application.update to the one that runs, or "
        "remove what runs (docker rm --force, docker service rm) and deploy again.",
    ),
    FaultCode.NOT_A_SWARM_MANAGER: Verdict(
        retryable=False,
        remedy="Run docker swarm init on this server, choose a Swarm manager, or set the "
        "application's runtime to container.",
    ),
    FaultCode.NO_SUITABLE_NODE: Verdict(
        retryable=False,
        remedy="See docker node ls for nodes that are down or full. Each node can publish a port "
        "in mode host only once.",
    ),
    FaultCode.SERVICE_MISSING: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise find out what removes services of this Swarm.",
    ),
    FaultCode.SERVICE_CHANGED: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise find out what else changes this service.",
    ),
    FaultCode.BUILD_SECRET_MISSING: Verdict(
        retryable=False,
        remedy="Add the secret that the Dockerfile mounts to buildSecrets of "
        "application.saveEnvironment.",
    ),
    FaultCode.BUILD_UNSUPPORTED: Verdict(
        retryable=False,
        remedy=(
            "If the Dockerfile mounts ssh keys, remove these mounts: no build gets an ssh key. "
            "If the message says that BuildKit is missing, update this server's Docker Engine "
            "to version 23 or newer, or remove what needs BuildKit."
        ),
    ),
    FaultCode.DOCKERFILE_INVALID: Verdict(
        retryable=False, remedy="Check the Dockerfile, its path in the context, and its stages."
    ),
    FaultCode.SOURCE_NOT_FOUND: Verdict(
        retryable=False,
        remedy="Check the repository's URL; a private repository needs a token or a deploy key "
        "that may read it.",
    ),
    FaultCode.SOURCE_DENIED: Verdict(
        retryable=False,
        remedy="Check that the token or the deploy key is correct, not expired, and may read the "
        "repository.",
    ),
    FaultCode.SOURCE_UNREACHABLE: Verdict(
        retryable=True, remedy="Check that this server can reach the address in the message."
    ),
    FaultCode.SOURCE_TOO_LARGE: Verdict(
        retryable=False, remedy="Make the sources smaller: leave out what the build does not need."
    ),
    FaultCode.SOURCE_INVALID: Verdict(
        retryable=False,
        remedy="Correct the file, link or setting that the message names.",
    ),
    FaultCode.SOURCE_CORRUPT: Verdict(
        retryable=False,
        remedy="Pack the sources again, upload them, and build them.",
    ),
    FaultCode.SOURCE_ALTERED: Verdict(
        retryable=True,
        remedy=f"{NEXT_ATTEMPT} Otherwise upload the sources again.",
    ),
    FaultCode.SOURCE_INCOMPLETE: Verdict(
        retryable=False,
        remedy="Make the submodules and LFS files readable for the application's login, or build "
        "without them, by allowMissing of application.build and application.deploy.",
    ),
    FaultCode.REVISION_NOT_FOUND: Verdict(
        retryable=False, remedy="Check that the branch, tag or commit exists and was pushed."
    ),
    FaultCode.HOST_KEY_NOT_PINNED: Verdict(
        retryable=False,
        remedy="Compare a fingerprint in the message with the one that the git host publishes, or "
        "that ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub shows on it. If they are the same, "
        "store it as customGitHostKey.",
    ),
    FaultCode.HOST_KEY_CHANGED: Verdict(
        retryable=False,
        remedy="Ask the operator of the git host if its keys were changed. Only if they were, "
        "compare the fingerprints and store the new one as customGitHostKey; else another host "
        "answers in its place.",
    ),
    FaultCode.SIGNATURE_MISSING: Verdict(
        retryable=False,
        remedy="Sign the image's digest (signature.sign, or cosign sign --key), then try again.",
    ),
    FaultCode.SIGNATURE_INVALID: Verdict(
        retryable=False,
        remedy="Do not run this image: find out who wrote the signature. To go on, build it again "
        "from its sources and sign the new digest.",
    ),
    FaultCode.SIGNATURE_UNTRUSTED: Verdict(
        retryable=False,
        remedy="If you trust the key that signed it, add its public key to the policy; else sign "
        "the image's digest with a key of the policy.",
    ),
    FaultCode.ATTESTATION_MISSING: Verdict(
        retryable=False,
        remedy="Attach a signed attestation of this type (cosign attest --key), then try again.",
    ),
    FaultCode.SCANNER_MISSING: Verdict(
        retryable=False,
        remedy="Install trivy or grype on the server, on the PATH of its worker, and repeat it.",
    ),
    FaultCode.SCAN_FAILED: Verdict(
        retryable=True,
        remedy="Run the scanner on the server by hand; often it cannot download its database.",
    ),
    FaultCode.VULNERABILITIES_FOUND: Verdict(
        retryable=False,
        remedy="Update the packages in the image and build again. To accept a vulnerability for "
        "some time, add an exception to the scan policy (scanPolicy.set).",
    ),
    FaultCode.BASE_NOT_ALLOWED: Verdict(
        retryable=False,
        remedy="Build on an image of an allowed registry, or let an administrator add this one to "
        "baseRegistries of the policy (signaturePolicy.set).",
    ),
}


class Fault(BaseModel):
    """The error of a job or a stage, as stored and shown; without secrets and whole responses.

    ``registry_id`` is the registry that refused its login, if the job may have several.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    code: str
    message: str
    remedy: str = ""
    retryable: bool = False
    stage: str | None = None
    evidence: str = ""
    retry_after_seconds: float | None = None
    registry_id: str | None = None
