"""Messages that Engines sent in trials, by Engine, with their codes and certainty."""

import pytest
from pydantic import SecretStr

from shared.faults import FaultCode
from shared.reference import parse_reference
from worker.engine.errors import EngineOperation, make_build_error, make_error
from worker.engine.messages.rule import Source
from worker.login import EngineLogin

LOGIN = EngineLogin(host="r.example", username="alice", secret=SecretStr("correct-horse-77"))
REFERENCE = parse_reference("r.example/team/app:1")
HARBOR = "unauthorized: unauthorized to access repository: team/app, action: {0}: unauthorized to "
HARBOR += "access repository: team/app, action: {0}"
PAGE = "invalid character '<' looking for beginning of value"
RESOLVE = 'failed to resolve reference "r.example/team/app:1":'
TOKEN = '"http://10.77.58.1:1/token?account=alice&scope=repository%3Aa%3Apull&service=x":'


@pytest.mark.parametrize(
    ("source", "verb", "text", "code"),
    [
        ("20.10", "pull", f"error unmarshalling content: {PAGE}", "not_a_registry"),
        ("20.10", "pull", "missing signature key", "not_a_registry"),
        ("20.10", "pull", 'Get "/v2/": stopped after 10 redirects', "not_a_registry"),
        ("20.10", "push", "received unexpected HTTP status: 200 OK", "not_a_registry"),
        (
            "20.10",
            "pull",
            (
                "error parsing HTTP 404 response body: no error details found in HTTP response "
                'body: "{}"'
            ),
            "not_a_registry",
        ),
        (
            "28 containerd",
            "pull",
            f"{RESOLVE} unexpected media type text/html for sha256:5f70bf18: not found",
            "not_a_registry",
        ),
        (
            "28 containerd",
            "push",
            (
                'failed commit on ref "layer-sha256:e002": unexpected status from PUT request to '
                "https://r.example/v2/team/app/blobs/uploads/1?digest=x: 403 Forbidden"
            ),
            "blocked_by_proxy",
        ),
        ("20.10", "pull", HARBOR.format("pull"), "pull_denied"),
        ("20.10", "push", HARBOR.format("push"), "push_denied"),
        ("20.10", "push", "unauthorized: access token has insufficient scopes", "push_denied"),
        ("20.10", "push", "unsupported", "registry_read_only"),
        ("20.10", "push", "unknown: account is locked", "auth_bad_credentials"),
        (
            "20.10",
            "pull",
            (
                "pull access denied for r.example/team/app, repository does not exist or may "
                "require 'docker login': denied: Your authorization token has expired. "
                "Reauthenticate and try again."
            ),
            "auth_expired",
        ),
        (
            "20.10",
            "pull",
            (
                f'Head "http://r.example/v2/team/app/manifests/1": Get {TOKEN} '
                "dial tcp 10.77.58.1:1: connect: connection refused"
            ),
            "auth_server_unreachable",
        ),
        (
            "20.10",
            "pull",
            (
                f'Head "http://r.example/v2/team/app/manifests/1": Get {TOKEN} '
                "x509: certificate signed by unknown authority"
            ),
            "auth_server_unreachable",
        ),
        ("20.10", "push", f"unable to decode token response: {PAGE}", "auth_server_unreachable"),
        (
            "28 containerd",
            "pull",
            (
                f"{RESOLVE} failed to authorize: failed to fetch oauth token: unexpected "
                "status from POST request to http://r.example/token: 500 Internal Server Error"
            ),
            "auth_server_unreachable",
        ),
        ("20.10", "pull", 'Get "https://r.example/v2/": Forbidden', "proxy_error"),
        ("20.10", "pull", 'Get "https://r.example/v2/": Service Unavailable', "proxy_error"),
        ("20.10", "pull", 'Get "https://r.example/v2/": Bad Gateway', "proxy_error"),
        (
            "20.10",
            "pull",
            'Get "https://r.example/v2/": dial tcp 192.0.2.9:443: connect: permission denied',
            "no_route",
        ),
        (
            "20.10",
            "push",
            "dial tcp 192.0.2.9:443: connect: invalid argument",
            "no_route",
        ),
        ("20.10", "pull", "dial tcp 192.0.2.9:443: connect: no route to host", "no_route"),
        ("20.10", "pull", "unknown blob", "image_incomplete"),
        ("20.10", "pull", "blob unknown: x", "image_incomplete"),
        (
            "28 containerd",
            "pull",
            (
                "failed to copy: httpReadSeeker: failed open: content at "
                "https://r.example/v2/team/app/blobs/sha256:5f70bf18 not found: not found"
            ),
            "image_incomplete",
        ),
        ("20.10", "push", "blob upload unknown to registry", "upload_corrupt"),
        ("20.10", "pull", "expected HTTP 206 from byte range request", "conn_reset"),
        (
            "20.10",
            "pull",
            "manifest verification failed for digest sha256:5f70bf18",
            "digest_mismatch",
        ),
        (
            "28 containerd",
            "pull",
            "unexpected commit digest sha256:5f70bf18, expected sha256:9a0b: failed precondition",
            "digest_mismatch",
        ),
        (
            "28",
            "pull",
            (
                'Get "https://r.example/v2/": tls: failed to verify certificate: x509: certificate '
                "relies on legacy Common Name field, use SANs instead"
            ),
            "tls_name_mismatch",
        ),
        ("28", "pull", "error from registry: unauthorized", "auth_bad_credentials"),
        ("28 containerd", "push", "error from registry: denied", "push_denied"),
        ("28 containerd", "push", "error from registry: unknown unknown", "registry_error"),
        ("28 containerd", "push", "error from registry: slow down", "rate_limited"),
        ("20.10", "push", "unknown: Please reduce your request rate.", "rate_limited"),
        ("28 containerd", "pull", "error from registry: it is Tuesday", "engine_refused"),
        (
            "podman",
            "inspect",
            'no container with name or ID "my-app" found: no such container',
            "container_missing",
        ),
        (
            "podman",
            "pull",
            (
                "initializing source docker://r.example/team/app:1: unable to retrieve auth token: "
                "invalid username/password: unauthorized: authentication required"
            ),
            "auth_bad_credentials",
        ),
        (
            "podman",
            "pull",
            (
                "initializing source docker://r.example/team/app:1: reading manifest 1 in "
                "r.example/team/app: manifest unknown"
            ),
            "image_not_found",
        ),
        (
            "podman",
            "build",
            'building at STEP "RUNN ": Build error: Unknown instruction: "RUNN" &imagebuilder.Step',
            "dockerfile_invalid",
        ),
        (
            "podman",
            "build",
            'no contents in "/var/tmp/libpod_builder2175428837/build/Dockerfile"\n',
            "dockerfile_invalid",
        ),
        (
            "podman",
            "build",
            "determining starting point for build: no FROM statement found\n",
            "dockerfile_invalid",
        ),
        (
            "podman",
            "build",
            "stat /var/tmp/libpod_builder4126320223/build/none: no such file or directory\n",
            "dockerfile_invalid",
        ),
        (
            "podman",
            "build",
            (
                'building at STEP "COPY none /": checking on sources under "/var/tmp/build": '
                'copier: stat: "/none": no such file or directory\n'
            ),
            "build_failed",
        ),
    ],
)
def test_a_recorded_message_has_its_code(source: Source, verb: str, text: str, code: str) -> None:
    assert make_error(text, EngineOperation(verb, REFERENCE, LOGIN)).code == code


@pytest.mark.parametrize(
    ("verb", "text", "code", "is_certain"),
    [
        ("push", "unknown: write /var/lib/registry/x: no space left on device", "quota", False),
        ("pull", "write /var/lib/docker/tmp/G1: no space left on device", "disk_full", True),
        ("push", "denied: quota exceeded for the namespace", "quota", True),
        ("pull", "denied: quota exceeded for the namespace", "pull_denied", False),
    ],
)
def test_a_full_disk_and_a_quota_are_told_apart(
    verb: str, text: str, code: str, *, is_certain: bool
) -> None:
    error = make_error(text, EngineOperation(verb, REFERENCE, LOGIN))

    expected = FaultCode.QUOTA_EXCEEDED if code == "quota" else FaultCode(code)
    assert (error.code, error.is_certain) == (expected, is_certain)


@pytest.mark.parametrize(
    ("status", "code"), [(404, FaultCode.CONTAINER_MISSING), (500, FaultCode.ENGINE_REFUSED)]
)
def test_a_missing_object_is_known_by_the_status_whatever_the_words(
    status: int, code: FaultCode
) -> None:
    operation = EngineOperation("inspect container x", missing=FaultCode.CONTAINER_MISSING)

    assert make_error("nothing of that kind", operation, status=status).code == code


def test_a_step_that_failed_in_podman_has_its_exit_code() -> None:
    error = make_build_error(
        'building at STEP "RUN exit 7": while running runtime: exit status 7',
        EngineOperation("build"),
        step="RUN exit 7",
        output=(),
    )

    assert error.code == FaultCode.BUILD_FAILED
    assert error.message == "cannot build: 'RUN exit 7' ended with exit code 7"
