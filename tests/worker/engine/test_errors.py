"""Recorded messages of Engines, and their codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.faults import FaultCode
from shared.reference import parse_reference
from worker.engine.errors import (
    MAX_MESSAGE_CHARACTERS,
    EngineOperation,
    make_build_error,
    make_error,
)
from worker.engine.messages.rule import MessageRule
from worker.engine.messages.table import MESSAGE_RULES
from worker.login import EngineLogin

LOGIN = EngineLogin(host="r.example", username="alice", secret=SecretStr("correct-horse-77"))
HEAD = "unexpected status from HEAD request to https://r.example/v2/a/manifests/1:"
RESOLVE = 'unknown: failed to resolve reference "r.example/a:1":'


@pytest.mark.parametrize("rule", MESSAGE_RULES, ids=lambda rule: f"{rule.code}-{rule.verb}")
def test_each_rule_classifies_its_own_example(rule: MessageRule) -> None:
    operation = EngineOperation(rule.verb or "look", None, LOGIN)

    error = make_error(rule.example, operation)

    assert error.code == rule.code


@pytest.mark.parametrize(
    ("verb", "text", "code"),
    [
        ("log in", 'Get "http://127.0.0.1:15003/v2/": no basic auth credentials', "auth_missing"),
        (
            "log in",
            'Get "http://127.0.0.1:15006/v2/": unauthorized: incorrect username or password',
            "auth_bad_credentials",
        ),
        (
            "log in",
            (
                'Get "https://reg.spike.test:15004/v2/": tls: failed to verify certificate: x509: '
                "certificate signed by unknown authority"
            ),
            "tls_unknown_ca",
        ),
        ("log in", 'Get "https://r/v2/": dial tcp 127.0.0.1:15060: i/o timeout', "conn_timeout"),
        (
            "log in",
            (
                'Get "https://r/v2/": net/http: request canceled (Client.Timeout exceeded while '
                "awaiting headers)"
            ),
            "conn_timeout",
        ),
        (
            "log in",
            "login attempt to http://r/v2/ failed with status: 404 Not Found",
            "not_a_registry",
        ),
        (
            "log in",
            "login attempt to http://r/v2/ failed with status: 429 Too Many Requests",
            "rate_limited",
        ),
        (
            "log in",
            "login attempt to http://r/v2/ failed with status: 503 Service Unavailable",
            "registry_error",
        ),
        (
            "log in",
            (
                'Get "https://login.example.invalid/": dial tcp: lookup login.example.invalid on '
                "10.255.255.53:53: no such host"
            ),
            "dns_not_found",
        ),
        ("log in", 'Get "https://r/v2/": Proxy Authentication Required', "proxy_error"),
        (
            "pull",
            'Head "http://r/v2/a/manifests/1": unauthorized: incorrect username or password',
            "auth_bad_credentials",
        ),
        (
            "pull",
            "error from registry: incorrect username or password",
            "auth_bad_credentials",
        ),
        ("pull", "unauthorized: authentication required", "auth_bad_credentials"),
        ("pull", f"{RESOLVE} {HEAD} 401 Unauthorized", "auth_bad_credentials"),
        (
            "pull",
            (
                f"{RESOLVE} pull access denied, repository does not exist or may require "
                "authorization: authorization failed: no basic auth credentials"
            ),
            "auth_missing",
        ),
        (
            "pull",
            (
                "pull access denied for r.example/a, repository does not exist or may require "
                "'docker login'"
            ),
            "pull_denied",
        ),
        (
            "pull",
            'failed to resolve reference "r.example/a:zzz": r.example/a:zzz: not found',
            "image_not_found",
        ),
        ("pull", f"{RESOLVE} {HEAD} 429 Too Many Requests", "rate_limited"),
        ("pull", "denied", "pull_denied"),
        ("pull", f"{RESOLVE} {HEAD} 503 Service Unavailable", "registry_error"),
        ("pull", "invalid reference format", "ref_invalid"),
        ("push", "denied: requested access to the resource is denied", "push_denied"),
        (
            "push",
            (
                "push access denied, repository does not exist or may require authorization: "
                "server message: insufficient_scope: authorization failed"
            ),
            "push_denied",
        ),
        ("push", f"unknown: {HEAD} 401 Unauthorized", "auth_bad_credentials"),
        ("push", "tag does not exist: r.example/a:nope", "local_image_missing"),
        ("push", "blob upload unknown to registry", "upload_corrupt"),
        ("inspect", "No such image: r.example/a:1", "local_image_missing"),
        (
            "build",
            (
                "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
                "r.example/a:1: not found"
            ),
            "image_not_found",
        ),
        ("build", 'failed to compute cache key: "/none" not found: not found', "build_failed"),
        ("build", "Cannot locate specified Dockerfile: none", "dockerfile_invalid"),
        ("build", "the Dockerfile (Dockerfile) cannot be empty", "dockerfile_invalid"),
        ("build", "failed to reach build target zz in Dockerfile", "dockerfile_invalid"),
        ("build", "base name ($NONE) should not be blank", "dockerfile_invalid"),
        ("build", "no active sessions", "build_unsupported"),
        ("build", 'no SSH key "" forwarded from the client', "build_unsupported"),
        ("build", "failed to solve: secret npmrc: not found", "build_secret_missing"),
        (
            "build",
            'network mode "nosuch" not supported by buildkit',
            "build_unsupported",
        ),
        (
            "build",
            "Error processing tar file(exit status 1): write /x: no space left on device",
            "disk_full",
        ),
        ("build", "something that no Engine has said yet", "engine_refused"),
    ],
)
def test_recorded_messages_have_their_code(verb: str, text: str, code: str) -> None:
    assert make_error(text, EngineOperation(verb, None, LOGIN)).code == code


@pytest.mark.parametrize("verb", ["pull", "push"])
@pytest.mark.parametrize(
    "text",
    [
        "unauthorized: authentication required",
        f"{HEAD} 401 Unauthorized",
        "denied: requested access to the resource is denied",
        "pull access denied for a, repository does not exist or may require 'docker login'",
    ],
)
def test_a_refusal_without_a_login_means_that_one_is_missing(verb: str, text: str) -> None:
    assert make_error(text, EngineOperation(verb)).code == FaultCode.AUTH_MISSING


@pytest.mark.parametrize(
    ("repository", "tag"), [("denied/429", "EOF"), ("unauthorized", "401"), ("x509/no/such", "v2")]
)
def test_the_name_of_an_image_decides_nothing(repository: str, tag: str) -> None:
    reference = parse_reference(f"r.example/{repository}:{tag}")
    text = f"manifest for {reference} not found: manifest unknown: manifest unknown"

    assert (
        make_error(text, EngineOperation("pull", reference, LOGIN)).code
        == FaultCode.IMAGE_NOT_FOUND
    )


def test_the_familiar_name_of_a_hub_image_decides_nothing_either() -> None:
    reference = parse_reference("denied:EOF")

    error = make_error("No such image: denied:EOF", EngineOperation("inspect", reference))

    assert error.code == FaultCode.LOCAL_IMAGE_MISSING


def test_unknown_messages_are_kept_but_truncated() -> None:
    error = make_error("never seen " * 1000, EngineOperation("pull"))

    assert error.message.startswith("cannot pull: never seen never")
    assert len(error.message) == len("cannot pull: ") + MAX_MESSAGE_CHARACTERS


@pytest.mark.parametrize(
    "text",
    [
        'Get "http://t.example/token?account=s3cr3t-x&service=x": connection refused',
        'Patch "https://r.example/v2/a/blobs/uploads/9?_state=s3cr3t-x": EOF',
        "Get https://b.s3.example/l?X-Amz-Signature=s3cr3t-x&X-Amz-Date=1: 403 Forbidden",
        "Get https://alice:s3cr3t-x@r.example/v2/: EOF",
        "sent Authorization: Bearer s3cr3t-x.y.z",
        "sent Authorization: Basic s3cr3t-xAAA==",
        '{"access_token": "s3cr3t-x"}',
        "password=s3cr3t-x refused",
    ],
)
def test_text_with_a_token_is_redacted(text: str) -> None:
    assert "s3cr3t-x" not in make_error(text, EngineOperation("pull")).message


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_returned_secret_is_never_shown(before: str, after: str) -> None:
    error = make_error(f"{before}correct-horse-77{after}", EngineOperation("pull", None, LOGIN))

    assert "correct-horse-77" not in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    "text",
    [
        "The command '/bin/sh -c exit 7' returned a non-zero code: 7",
        "executor failed running [/bin/sh -c exit 7]: exit code: 7",
        'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7',
    ],
)
def test_a_failed_step_is_reported_with_its_exit_code(text: str) -> None:
    error = make_build_error(text, EngineOperation("build"), step="RUN exit 7", output=("a", "b"))

    assert error.code == FaultCode.BUILD_FAILED
    assert error.message == "cannot build: 'RUN exit 7' ended with exit code 7"


def test_a_step_without_disk_space_is_reported_as_a_full_disk() -> None:
    text = "The command '/bin/sh -c cp a b' returned a non-zero code: 1"

    error = make_build_error(
        text,
        EngineOperation("build"),
        step="RUN cp a b",
        output=("cp: b: No space left on device", ""),
    )

    assert error.code == FaultCode.DISK_FULL


def test_the_step_shows_no_secret_of_the_login() -> None:
    text = "The command '/bin/sh -c x' returned a non-zero code: 1"

    error = make_build_error(
        text,
        EngineOperation("build", None, LOGIN),
        step="RUN curl -u a:correct-horse-77",
        output=(),
    )

    assert "correct-horse-77" not in error.message


@pytest.mark.parametrize("verb", ["pull", "push", "log in to r.example", "create container"])
@pytest.mark.parametrize(
    "text",
    [
        (
            "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n"
            "</body></html>\n"
        ),
        "Forbidden\n",
        "Method Not Allowed\n",
        "authorization denied by plugin opa-docker-authz: request rejected",
    ],
    ids=["HAProxy", "forbidden", "method", "plugin"],
)
def test_a_call_that_is_refused_before_the_engine_is_no_refusal_of_the_registry(
    verb: str, text: str
) -> None:
    error = make_error(text, EngineOperation(verb, parse_reference("r.example/a:1")), status=403)

    assert (error.code, error.is_certain) == (FaultCode.BLOCKED_BY_PROXY, True)
    assert "Docker's socket" in error.remedy
