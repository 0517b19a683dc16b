"""Messages that pass on what a registry answered."""

from shared.faults import FaultCode
from worker.engine.messages.rule import MessageRule

_HEAD_403 = (
    "unexpected status from HEAD request to https://r.example/v2/a/manifests/1: 403 Forbidden"
)
_WEB_PAGE = "response body: invalid character '<' looking for beginning of value"
_NO_RIGHT = "denied: requested access to the resource is denied"
_NO_SCOPE = "server message: insufficient_scope: authorization failed"
_UNKNOWN_NAME = "name unknown: The repository with name 'a' does not exist in the registry"
_QUAY = "unauthorized: access to the requested resource is not authorized"
_HARBOR = "unauthorized: unauthorized to access repository: team/app, action: {0}: unauthorized to "
_HARBOR += "access repository: team/app, action: {0}"
_QUOTA = (
    "denied: adding 2.1 MiB of storage resource, which when updated to current usage of 9.9 MiB "
    "will exceed the configured upper limit of 10.0 MiB."
)
_DENIED = (
    r"(?<!permission )\bdenied\b|insufficient_scope|not authorized|not allowed to|403 Forbidden"
    r"|permission_denied"
)
_MISSING_SCOPE = (
    r"requested resource is not authorized|insufficient[_ ]scopes?"
    r"|unauthorized to access repository"
)

LIMIT_RULES = (
    MessageRule(
        r"(?i)toomanyrequests|\b429\b|rate exceeded|too many requests|\bslow ?down\b"
        r"|reduce your request rate",
        FaultCode.RATE_LIMITED,
        "toomanyrequests: You have reached your pull rate limit.",
        "20.10",
    ),
    MessageRule(
        r"(?i)\bquota\b|quota_exceeded|storage (?:limit|resource)|insufficient storage|\b507\b",
        FaultCode.QUOTA_EXCEEDED,
        _QUOTA,
        "20.10",
        "push",
    ),
    MessageRule(
        r"\b413\b|Request Entity Too Large",
        FaultCode.LAYER_TOO_LARGE,
        f"error parsing HTTP 413 {_WEB_PAGE}",
        "20.10",
    ),
    MessageRule(
        r"(?i)read[- ]only",
        FaultCode.REGISTRY_READ_ONLY,
        "denied: the registry is in read-only mode",
        "20.10",
        "push",
    ),
    MessageRule(
        r"^unsupported\b|\b405\b|operation is unsupported",
        FaultCode.REGISTRY_READ_ONLY,
        "unsupported",
        "20.10",
        "push",
        is_certain=False,
    ),
)

CONTENT_RULES = (
    MessageRule(
        r"(?:layer|manifest|image) verification failed|unexpected commit digest",
        FaultCode.DIGEST_MISMATCH,
        "filesystem layer verification failed for digest sha256:5f70bf18",
        "20.10",
    ),
    MessageRule(
        r"digest (?:invalid|did not match)",
        FaultCode.DIGEST_MISMATCH,
        "digest invalid: provided digest did not match uploaded content",
        "20.10",
        "pull",
    ),
    MessageRule(
        r"invalid tar header|unknown compression|magic number mismatch",
        FaultCode.COMPRESSION_UNSUPPORTED,
        "failed to register layer: Error processing tar file(exit status 1): archive/tar: invalid "
        "tar header",
        "20.10",
        is_certain=False,
    ),
    MessageRule(
        r"unexpected media type text/",
        FaultCode.NOT_A_REGISTRY,
        'failed to resolve reference "r.example/a:1": unexpected media type text/html for '
        "sha256:5f70bf18: not found",
        "28 containerd",
    ),
    MessageRule(
        r"status:? 5\d\d|HTTP 5\d\d|\b50[0234] [A-Z]|error from registry: unknown\b",
        FaultCode.REGISTRY_ERROR,
        "received unexpected HTTP status: 503 Service Unavailable",
        "20.10",
    ),
    MessageRule(
        r"received unexpected HTTP status: 200|missing signature key|error unmarshalling content"
        r"|stopped after \d+ redirects",
        FaultCode.NOT_A_REGISTRY,
        "error unmarshalling content: invalid character '<' looking for beginning of value",
        "20.10",
    ),
    MessageRule(
        r"(?i)immutable|ImageTagAlreadyExists",
        FaultCode.TAG_IMMUTABLE,
        "tag invalid: The image tag '1' already exists in the 'a' repository and cannot be "
        "overwritten because the repository is immutable.",
        "20.10",
    ),
    MessageRule(
        r"blob unknown|unknown blob|blob upload (?:invalid|unknown)",
        FaultCode.UPLOAD_CORRUPT,
        "blob upload unknown to registry",
        "20.10",
        "push",
    ),
    MessageRule(
        r"digest (?:invalid|did not match)|blob upload (?:invalid|unknown)",
        FaultCode.UPLOAD_CORRUPT,
        "digest invalid: provided digest did not match uploaded content",
        "20.10",
    ),
    MessageRule(
        r"(?i)blob[_ ]unknown|unknown blob|failed open: content at .*: not found",
        FaultCode.IMAGE_INCOMPLETE,
        "unknown blob",
        "20.10",
    ),
    MessageRule(
        r"no matching manifest for|specified platform|no match for platform",
        FaultCode.PLATFORM_MISSING,
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "20.10",
    ),
    MessageRule(
        r"Encountered remote|unsupported media type|invalid rootfs in image configuration"
        r"|unsupported manifest (?:format|media type)",
        FaultCode.NOT_AN_IMAGE,
        'Encountered remote "application/vnd.cncf.helm.config.v1+json"(unknown) when fetching',
        "20.10",
        is_certain=False,
    ),
)

LOGIN_RULES = (
    MessageRule(
        r"authorization token has expired|token (?:has|is) expired",
        FaultCode.AUTH_EXPIRED,
        "denied: Your authorization token has expired. Reauthenticate and try again.",
        "20.10",
    ),
    MessageRule(
        r"no basic auth credentials",
        FaultCode.AUTH_MISSING,
        'Head "https://r.example/v2/a/manifests/1": no basic auth credentials',
        "20.10",
    ),
    MessageRule(
        r"push access denied",
        FaultCode.PUSH_DENIED,
        "push access denied, repository does not exist",
        "28 containerd",
    ),
    MessageRule(
        r"pull access denied",
        FaultCode.PULL_DENIED,
        "pull access denied for r.example/a, repository does not exist or may require 'docker "
        "login': denied: requested access to the resource is denied",
        "20.10",
    ),
    MessageRule(
        r"(?i)project \S+ not found",
        FaultCode.REPO_MISSING,
        "unauthorized: project team not found: project team not found",
        "28",
    ),
    MessageRule(_MISSING_SCOPE, FaultCode.PUSH_DENIED, _NO_SCOPE, "28 containerd", "push"),
    MessageRule(_MISSING_SCOPE, FaultCode.PUSH_DENIED, _HARBOR.format("push"), "20.10", "push"),
    MessageRule(
        _MISSING_SCOPE,
        FaultCode.PUSH_DENIED,
        "unauthorized: access token has insufficient scopes",
        "28",
        "push",
    ),
    MessageRule(_MISSING_SCOPE, FaultCode.PULL_DENIED, _QUAY, "20.10"),
    MessageRule(
        r"\b401\b|\b423\b|account is locked|incorrect username or password"
        r"|invalid username/password"
        r"|authentication required|\bunauthorized\b",
        FaultCode.AUTH_BAD_CREDENTIALS,
        "login attempt to http://127.0.0.1:15003/v2/ failed with status: 401 Unauthorized",
        "20.10",
    ),
)

REFUSAL_RULES = (
    MessageRule(
        r"name unknown|NAME_UNKNOWN|PUT request to URL: 404|POST request to URL: 404",
        FaultCode.REPO_MISSING,
        _UNKNOWN_NAME,
        "20.10",
        "push",
    ),
    MessageRule(
        r"error parsing HTTP 403",
        FaultCode.BLOCKED_BY_PROXY,
        f"error parsing HTTP 403 {_WEB_PAGE}",
        "20.10",
    ),
    MessageRule(
        r"error parsing HTTP|failed with status: 404",
        FaultCode.NOT_A_REGISTRY,
        f"error parsing HTTP 404 {_WEB_PAGE}",
        "20.10",
    ),
    MessageRule(
        r"name unknown|manifest unknown|manifest for X not found|: not found",
        FaultCode.IMAGE_NOT_FOUND,
        "manifest for r.example/a:zzz not found: manifest unknown: manifest unknown",
        "20.10",
    ),
    MessageRule(
        r"unexpected status from (?:POST|PUT|PATCH) request to \S+ 403 Forbidden",
        FaultCode.BLOCKED_BY_PROXY,
        'failed commit on ref "layer-sha256:e002": unexpected status from PUT request to '
        "https://r.example/v2/a/blobs/uploads/1?digest=sha256%3Ae002: 403 Forbidden",
        "28 containerd",
        "push",
    ),
    MessageRule(_DENIED, FaultCode.PUSH_DENIED, _NO_RIGHT, "20.10", "push"),
    MessageRule(_DENIED, FaultCode.PULL_DENIED, _HEAD_403, "28 containerd", "pull"),
    MessageRule(
        r"403 Forbidden",
        FaultCode.BLOCKED_BY_PROXY,
        "login attempt to http://r.example/v2/ failed with status: 403 Forbidden",
        "20.10",
    ),
    MessageRule(r"(?<!permission )\bdenied\b", FaultCode.PULL_DENIED, _NO_RIGHT, "20.10"),
)
