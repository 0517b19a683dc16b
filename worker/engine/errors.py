"""Classify an Engine's error messages: the only place where the text of an error decides.

An Engine answers a wrong password, an unknown host and a missing image alike with 500, and a failed
push with 200, so only the text differs. Every rule has a message of a real Engine (20.10 and 28.5)
as its example; `tests/worker/engine/test_errors.py` classifies each of them.

Rules are tried from top to bottom. URLs and the names of the request are removed first, so that a
repository called ``denied`` decides nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.engine.redaction import MAX_INPUT_CHARACTERS, redact
from worker.login import EngineLogin

MAX_MESSAGE_CHARACTERS = 300
"""The maximum length of the Engine's text in an error message."""


@dataclass(frozen=True)
class EngineOperation:
    """A request to the Engine: ``verb`` is ``pull``, ``push`` or any other short name."""

    verb: str
    reference: Reference | None = None
    login: EngineLogin | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.reference}" if self.reference else self.verb


@dataclass(frozen=True)
class ErrorRule:
    """A pattern and the ``code`` that it decides on; with a ``verb`` only for that operation."""

    pattern: str
    code: FaultCode
    example: str
    verb: str | None = None


_HEAD_403 = (
    "unexpected status from HEAD request to https://r.example/v2/a/manifests/1: 403 Forbidden"
)
_WEB_PAGE = "response body: invalid character '<' looking for beginning of value"
_NO_RIGHT = "denied: requested access to the resource is denied"
_NO_SCOPE = "server message: insufficient_scope: authorization failed"
_UNKNOWN_NAME = "name unknown: The repository with name 'a' does not exist in the registry"
_QUAY = "unauthorized: access to the requested resource is not authorized"
_DENIED = r"denied|insufficient_scope|not authorized|not allowed to|403 Forbidden|permission_denied"

ERROR_RULES = (
    # A failed step quotes its command, which may contain anything. So this rule is the first.
    ErrorRule(
        r"returned a non-zero code: \d+|executor failed running|did not complete successfully",
        FaultCode.BUILD_FAILED,
        "The command '/bin/sh -c grep denied x509' returned a non-zero code: 7",
        "build",
    ),
    ErrorRule(
        r"COPY failed|ADD failed|failed to compute cache key|failed to calculate checksum",
        FaultCode.BUILD_FAILED,
        "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: "
        "file does not exist",
        "build",
    ),
    ErrorRule(
        r"(?:LLB definition|metadata for)\b.*no active sessions",
        FaultCode.AUTH_MISSING,
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: no active "
        "sessions",
        "build",
    ),
    ErrorRule(
        r"\bsecret \S+(?: not found)?: not found",
        FaultCode.BUILD_SECRET_MISSING,
        "secret npmrc not found: not found",
        "build",
    ),
    ErrorRule(
        r"option requires BuildKit|no active sessions|not supported by buildkit|no SSH key",
        FaultCode.BUILD_UNSUPPORTED,
        "the --mount option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/",
        "build",
    ),
    ErrorRule(
        r"dockerfile parse error|annot locate specified Dockerfile|failed to read dockerfile: open"
        r"|cannot be empty|failed to reach build target|target stage \S+ could not be found"
        r"|base name \(.*\) should not be blank",
        FaultCode.DOCKERFILE_INVALID,
        "failed to solve with frontend dockerfile.v0: failed to create LLB definition: dockerfile "
        "parse error line 2: unknown instruction: RUNN",
        "build",
    ),
    ErrorRule(
        r"No such container|removal of container \S+ is already in progress",
        FaultCode.CONTAINER_MISSING,
        "No such container: my-app",
    ),
    ErrorRule(
        r"service \S+ not found",
        FaultCode.SERVICE_MISSING,
        "service my-app not found",
    ),
    ErrorRule(
        r"does not have a leader",
        FaultCode.ENGINE_UNREACHABLE,
        "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too "
        "few managers are online. Make sure more than half of the managers are online.",
    ),
    ErrorRule(
        r"update out of sequence",
        FaultCode.SERVICE_CHANGED,
        "rpc error: code = Unknown desc = update out of sequence",
    ),
    ErrorRule(
        r"name conflicts with an existing object",
        FaultCode.NAME_TAKEN,
        "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service "
        "my-app already exists",
    ),
    ErrorRule(
        r"is already in use by service|host-mode port already in use",
        FaultCode.PORT_TAKEN,
        "rpc error: code = InvalidArgument desc = port '80' is already in use by service 'my-app' "
        "(zb5w) as an ingress port",
    ),
    ErrorRule(
        r"no suitable node \(unsupported platform on \d+ nodes?\)",
        FaultCode.PLATFORM_MISSING,
        "no suitable node (unsupported platform on 2 nodes)",
    ),
    ErrorRule(
        r"no suitable node",
        FaultCode.NO_SUITABLE_NODE,
        "no suitable node (2 nodes not available for new tasks)",
    ),
    ErrorRule(
        r"unhealthy container",
        FaultCode.CONTAINER_UNHEALTHY,
        "task: non-zero exit (137): dockerexec: unhealthy container",
        "start container",
    ),
    ErrorRule(
        r"task: non-zero exit",
        FaultCode.CONTAINER_EXITED,
        "task: non-zero exit (7)",
        "start container",
    ),
    ErrorRule(
        r"already in use by container",
        FaultCode.NAME_TAKEN,
        'Conflict. The container name "/my-app" is already in use by container "5f0c". You have to '
        "remove (or rename) that container to be able to reuse that name.",
    ),
    ErrorRule(
        r"port is already allocated|address already in use",
        FaultCode.PORT_TAKEN,
        "driver failed programming external connectivity on endpoint my-app (5f0c): Bind for "
        "0.0.0.0:80 failed: port is already allocated",
        "start container",
    ),
    ErrorRule(
        r"OCI runtime create failed|failed to create (?:shim )?task|exec format error",
        FaultCode.CONTAINER_EXITED,
        "OCI runtime create failed: container_linux.go:380: starting container process caused: "
        'exec: "none": executable file not found in $PATH: unknown',
        "start container",
    ),
    ErrorRule(
        r"invalid reference format|invalid tag format|repository name must be",
        FaultCode.REF_INVALID,
        "invalid reference format: repository name must be lowercase",
    ),
    ErrorRule(
        r"client version \S+ is too (?:new|old)",
        FaultCode.ENGINE_API_VERSION,
        "client version 1.51 is too new. Maximum supported API version is 1.41",
    ),
    ErrorRule(
        r"containerd\.sock|cannot connect to the Docker daemon",
        FaultCode.ENGINE_UNREACHABLE,
        "connection error: dial unix /run/containerd/containerd.sock: connect: connection refused",
    ),
    ErrorRule(
        r"[Nn]o such image|image does not exist locally|tag does not exist",
        FaultCode.LOCAL_IMAGE_MISSING,
        "An image does not exist locally with the tag: r.example/team/app",
    ),
    ErrorRule(
        r"no space left on device",
        FaultCode.DISK_FULL,
        "write /var/lib/docker/tmp/GetImageBlob2262081111: no space left on device",
    ),
    ErrorRule(
        r"toomanyrequests|\b429\b|Rate exceeded",
        FaultCode.RATE_LIMITED,
        "toomanyrequests: You have reached your pull rate limit.",
    ),
    ErrorRule(
        r"proxyconnect tcp|Proxy Authentication Required",
        FaultCode.PROXY_ERROR,
        'Get "https://r.example/v2/": proxyconnect tcp: dial tcp 127.0.0.1:15998: connect: '
        "connection refused",
    ),
    ErrorRule(
        r'(?:Get "URL": Get|failed to fetch (?:anonymous|oauth) token: \w+) "URL": '
        r".*(?:dial|EOF|[Tt]imeout|reset)",
        FaultCode.AUTH_SERVER_UNREACHABLE,
        'Get "http://r.example/v2/": Get "http://127.0.0.1:15999/token?account=a&service=x": '
        "dial tcp 127.0.0.1:15999: connect: connection refused",
    ),
    ErrorRule(
        r"signed by unknown authority",
        FaultCode.TLS_UNKNOWN_CA,
        'Get "https://r.example/v2/": x509: certificate signed by unknown authority',
    ),
    ErrorRule(
        r"has expired or is not yet valid",
        FaultCode.TLS_EXPIRED,
        "x509: certificate has expired or is not yet valid: current time 2026-11-23T07:28:07Z is "
        "after 2026-10-19T07:26:40Z",
    ),
    ErrorRule(
        r"certificate is (?:not )?valid for|cannot validate certificate for",
        FaultCode.TLS_NAME_MISMATCH,
        "x509: certificate is valid for other.example, not wrong.spike.test",
    ),
    ErrorRule(
        r"server gave HTTP response to HTTPS client|does not look like a TLS handshake",
        FaultCode.TLS_NOT_OFFERED,
        'Get "https://r.example/v2/": http: server gave HTTP response to HTTPS client',
    ),
    ErrorRule(
        r"HTTP request to an HTTPS server",
        FaultCode.HTTP_TO_HTTPS,
        "Client sent an HTTP request to an HTTPS server.",
    ),
    ErrorRule(
        r"tls: (?:bad certificate|certificate required)",
        FaultCode.TLS_CLIENT_CERT,
        "remote error: tls: certificate required",
    ),
    ErrorRule(r"\btls: |\bx509: ", FaultCode.TLS_FAILED, "remote error: tls: handshake failure"),
    ErrorRule(
        r"no such host",
        FaultCode.DNS_NOT_FOUND,
        "dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: no such host",
    ),
    ErrorRule(
        r"server misbehaving|\blookup \S+(?: on \S+)?: |name resolution",
        FaultCode.DNS_FAILURE,
        "dial tcp: lookup r.example on 10.0.0.53:53: read udp 10.0.0.2:9: i/o timeout",
    ),
    ErrorRule(
        r"connection refused",
        FaultCode.CONN_REFUSED,
        "dial tcp 127.0.0.1:15999: connect: connection refused",
    ),
    ErrorRule(
        r"i/o timeout|Client\.Timeout|deadline exceeded|no route to host|network is unreachable"
        r"|connection timed out",
        FaultCode.CONN_TIMEOUT,
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded while "
        "awaiting headers)",
    ),
    ErrorRule(
        r"\b413\b|Request Entity Too Large",
        FaultCode.LAYER_TOO_LARGE,
        f"error parsing HTTP 413 {_WEB_PAGE}",
    ),
    ErrorRule(
        r"status:? 5\d\d|HTTP 5\d\d|\b50[0234] [A-Z]|layer verification failed",
        FaultCode.REGISTRY_ERROR,
        "received unexpected HTTP status: 503 Service Unavailable",
    ),
    ErrorRule(
        r"(?i)immutable|ImageTagAlreadyExists",
        FaultCode.TAG_IMMUTABLE,
        "tag invalid: The image tag '1' already exists in the 'a' repository and cannot be "
        "overwritten because the repository is immutable.",
    ),
    ErrorRule(
        r"blob unknown|blob upload (?:invalid|unknown)|digest (?:invalid|did not match)",
        FaultCode.UPLOAD_CORRUPT,
        "digest invalid: provided digest did not match uploaded content",
    ),
    ErrorRule(
        r"no matching manifest for|unsupported media type|specified platform|no match for platform",
        FaultCode.PLATFORM_MISSING,
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
    ),
    ErrorRule(
        r"authorization token has expired",
        FaultCode.AUTH_EXPIRED,
        "denied: Your authorization token has expired. Reauthenticate and try again.",
    ),
    ErrorRule(
        r"no basic auth credentials",
        FaultCode.AUTH_MISSING,
        'Head "https://r.example/v2/a/manifests/1": no basic auth credentials',
    ),
    ErrorRule(
        r"push access denied",
        FaultCode.PUSH_DENIED,
        "push access denied, repository does not exist",
    ),
    ErrorRule(
        r"pull access denied",
        FaultCode.PULL_DENIED,
        "pull access denied for r.example/a, repository does not exist or may require 'docker "
        "login': denied: requested access to the resource is denied",
    ),
    ErrorRule(
        r"requested resource is not authorized|insufficient_scope",
        FaultCode.PUSH_DENIED,
        _NO_SCOPE,
        "push",
    ),
    ErrorRule(
        r"requested resource is not authorized|insufficient_scope", FaultCode.PULL_DENIED, _QUAY
    ),
    ErrorRule(
        r"\b401\b|incorrect username or password|authentication required|\bunauthorized\b",
        FaultCode.AUTH_BAD_CREDENTIALS,
        "login attempt to http://127.0.0.1:15003/v2/ failed with status: 401 Unauthorized",
    ),
    ErrorRule(r"name unknown|NAME_UNKNOWN", FaultCode.REPO_MISSING, _UNKNOWN_NAME, "push"),
    ErrorRule(
        r"error parsing HTTP 403",
        FaultCode.BLOCKED_BY_PROXY,
        f"error parsing HTTP 403 {_WEB_PAGE}",
    ),
    ErrorRule(
        r"error parsing HTTP|failed with status: 404",
        FaultCode.NOT_A_REGISTRY,
        f"error parsing HTTP 404 {_WEB_PAGE}",
    ),
    ErrorRule(
        r"name unknown|manifest unknown|manifest for X not found|: not found",
        FaultCode.IMAGE_NOT_FOUND,
        "manifest for r.example/a:zzz not found: manifest unknown: manifest unknown",
    ),
    ErrorRule(_DENIED, FaultCode.PUSH_DENIED, _NO_RIGHT, "push"),
    ErrorRule(_DENIED, FaultCode.PULL_DENIED, _HEAD_403, "pull"),
    ErrorRule(
        r"403 Forbidden",
        FaultCode.BLOCKED_BY_PROXY,
        "login attempt to http://r.example/v2/ failed with status: 403 Forbidden",
    ),
    ErrorRule(r"denied", FaultCode.PULL_DENIED, _NO_RIGHT),
    ErrorRule(
        r"\bEOF\b|connection reset|TLS handshake timeout|broken pipe|closed network connection",
        FaultCode.CONN_RESET,
        'Get "http://127.0.0.1:15031/v2/": EOF',
    ),
    ErrorRule(r"context canceled", FaultCode.ENGINE_STREAM_TRUNCATED, "context canceled"),
)

_EXIT_CODE = re.compile(r"(?:non-zero|exit) code: (\d+)\s*$")
_NO_SPACE = re.compile(r"(?i)no space left on device")
_URL = re.compile(r"https?://[^\s\"'<>]+?(?=[:,.)]?(?:[\s\"'<>]|$))")


def make_error(text: str, operation: EngineOperation) -> EngineError:
    """Make the error for an Engine's message; an unknown one is ``engine_refused``."""
    code = _classify(text[:MAX_INPUT_CHARACTERS], operation)
    return EngineError(
        code, f"{operation}: {redact(text, operation.login)[:MAX_MESSAGE_CHARACTERS]}"
    )


def make_build_error(
    text: str, operation: EngineOperation, *, step: str, output: Sequence[str]
) -> EngineError:
    """Make the error of a build; ``step`` is the current step, ``output`` its last lines.

    If the disk was full, a step fails like any other one: only its output shows the reason.
    """
    error = make_error(text, operation)
    if error.code != FaultCode.BUILD_FAILED:
        return error
    exit_code = _EXIT_CODE.search(text)
    ended = f"ended with exit code {exit_code[1]}" if exit_code else f"failed: {error.message}"
    is_full = any(_NO_SPACE.search(line) for line in output)
    code = FaultCode.DISK_FULL if is_full else FaultCode.BUILD_FAILED
    return EngineError(
        code, f"{operation}: {redact(step, operation.login)[:MAX_MESSAGE_CHARACTERS]!r} {ended}"
    )


def _classify(text: str, operation: EngineOperation) -> FaultCode:
    text = _remove_names(text, operation.reference)
    for rule in ERROR_RULES:
        if rule.verb in {None, operation.verb} and re.search(rule.pattern, text):
            return _correct_for_missing_login(rule.code, operation)
    return FaultCode.ENGINE_REFUSED


def _correct_for_missing_login(code: FaultCode, operation: EngineOperation) -> FaultCode:
    """Return ``auth_missing`` if "unauthorized" answers a request that had no login."""
    is_anonymous = operation.login is None or not operation.login.secret.get_secret_value()
    if code is FaultCode.AUTH_BAD_CREDENTIALS and is_anonymous:
        return FaultCode.AUTH_MISSING
    return code


def _remove_names(text: str, reference: Reference | None) -> str:
    text = _URL.sub("URL", text)
    if reference is None:
        return text
    target = rf"(?:[:@]{re.escape(reference.target)})?"
    familiar = reference.repository.removeprefix("library/")
    for name in (reference.name, reference.repository, familiar):
        text = re.sub(rf"(?<![\w./-]){re.escape(name)}{target}(?![\w/-])", "X", text)
    return text
