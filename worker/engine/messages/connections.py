"""Messages about the Engine itself, its proxy, and its connections to registries."""

from shared.faults import FaultCode
from worker.engine.messages.rule import MessageRule

_BEFORE_THE_ENGINE = (
    "Something in front of Docker's socket refuses this call: a socket proxy or an authorization "
    "plugin. Allow the worker's calls there: wharf doctor names those that are refused."
)

ENGINE_RULES = (
    MessageRule(
        r"(?is)^\s*<(?:!doctype )?html\b.*\b403 Forbidden"
        r"|^\s*(?:Forbidden|Method Not Allowed)\s*$|authorization denied by plugin",
        FaultCode.BLOCKED_BY_PROXY,
        "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n"
        "</body></html>",
        "socket proxy",
        is_certain=True,
        remedy=_BEFORE_THE_ENGINE,
    ),
    MessageRule(
        r"invalid reference format|invalid tag format|repository name must be",
        FaultCode.REF_INVALID,
        "invalid reference format: repository name must be lowercase",
        "20.10",
    ),
    MessageRule(
        r"client version \S+ is too (?:new|old)",
        FaultCode.ENGINE_API_VERSION,
        "client version 1.51 is too new. Maximum supported API version is 1.41",
        "20.10",
    ),
    MessageRule(
        r"containerd\.sock|cannot connect to the Docker daemon",
        FaultCode.ENGINE_UNREACHABLE,
        "connection error: dial unix /run/containerd/containerd.sock: connect: connection refused",
        "20.10",
    ),
    MessageRule(
        r"(?i)no such image|image does not exist locally|tag does not exist",
        FaultCode.LOCAL_IMAGE_MISSING,
        "An image does not exist locally with the tag: r.example/team/app",
        "20.10",
    ),
    MessageRule(
        r"(?:^|: )(?:unknown|denied|unsupported|error from registry): .*no space left on device",
        FaultCode.QUOTA_EXCEEDED,
        "unknown: write /var/lib/registry/docker/registry/v2: no space left on device",
        "20.10",
        "push",
        is_certain=False,
        remedy="Free disk space at the registry.",
    ),
    MessageRule(
        r"/\S+: no space left on device",
        FaultCode.DISK_FULL,
        "write /var/lib/docker/tmp/GetImageBlob2262081111: no space left on device",
        "20.10",
        is_certain=True,
    ),
    MessageRule(
        r"no space left on device",
        FaultCode.DISK_FULL,
        "failed to register layer: no space left on device",
        "28",
    ),
)

CONNECTION_RULES = (
    MessageRule(
        r"proxyconnect tcp|Proxy Authentication Required|\b407\b",
        FaultCode.PROXY_ERROR,
        'Get "https://r.example/v2/": proxyconnect tcp: dial tcp 127.0.0.1:15998: connect: '
        "connection refused",
        "20.10",
        is_certain=True,
    ),
    MessageRule(
        # Go shows no more of the answer to CONNECT than the text of its status line.
        r'"URL": (?:Forbidden|Bad Gateway|Service Unavailable|Gateway Time-?out'
        r"|Internal Server Error|Method Not Allowed|Bad Request|Not Found|Too Many Requests"
        r"|Unauthorized)\W*$",
        FaultCode.PROXY_ERROR,
        'Get "https://r.example/v2/": Forbidden',
        "20.10",
        is_certain=True,
    ),
    MessageRule(
        r"failed to fetch (?:anonymous|oauth) token: .*signed by unknown authority",
        FaultCode.AUTH_SERVER_UNREACHABLE,
        'failed to authorize: failed to fetch oauth token: Post "https://r.example/token": tls: '
        "failed to verify certificate: x509: certificate signed by unknown authority",
        "28 containerd",
        remedy="Docker's containerd image store looks for the CA of a token server only among the "
        "CAs of the system, not in /etc/docker/certs.d: add it there (update-ca-certificates), and "
        "restart Docker.",
    ),
    MessageRule(
        r'\b(?:Get|Head|Post|Put|Patch) "URL": (?:Get|Post) "URL": '
        r'|failed to fetch (?:anonymous|oauth) token: \w+ "URL": '
        r"|failed to fetch (?:anonymous|oauth) token: unexpected status.*: (?:404|5\d\d)"
        r"|unable to decode token response|server did not include a token",
        FaultCode.AUTH_SERVER_UNREACHABLE,
        'Head "http://r.example/v2/a/manifests/1": Get "http://127.0.0.1:1/token?account=alice&'
        'scope=repository%3Aa%3Apull&service=x": dial tcp 127.0.0.1:1: connect: connection refused',
        "20.10",
    ),
    MessageRule(
        r"legacy Common Name field|not valid for any names|contain any IP SANs",
        FaultCode.TLS_NAME_MISMATCH,
        'Get "https://r.example/v2/": x509: certificate relies on legacy Common Name field, use '
        "SANs instead",
        "28",
    ),
    MessageRule(
        r"signed by unknown authority",
        FaultCode.TLS_UNKNOWN_CA,
        'Get "https://r.example/v2/": x509: certificate signed by unknown authority',
        "20.10",
    ),
    MessageRule(
        r"has expired or is not yet valid",
        FaultCode.TLS_EXPIRED,
        "x509: certificate has expired or is not yet valid: current time 2026-11-23T07:28:07Z is "
        "after 2026-10-19T07:26:40Z",
        "20.10",
    ),
    MessageRule(
        r"certificate is (?:not )?valid for|cannot validate certificate for",
        FaultCode.TLS_NAME_MISMATCH,
        "x509: certificate is valid for other.example, not wrong.spike.test",
        "20.10",
    ),
    MessageRule(
        r'malformed HTTP (?:response|status|version)|"SSH-',
        FaultCode.NOT_A_REGISTRY,
        'Get "http://r.example/v2/": net/http: HTTP/1.x transport connection broken: malformed '
        'HTTP version "SSH-2.0-OpenSSH_9.2"',
        "20.10",
    ),
    MessageRule(
        r"server gave HTTP response to HTTPS client|does not look like a TLS handshake",
        FaultCode.TLS_NOT_OFFERED,
        'Get "https://r.example/v2/": http: server gave HTTP response to HTTPS client',
        "20.10",
    ),
    MessageRule(
        r"HTTP request to an HTTPS server|plain HTTP request was sent to HTTPS port",
        FaultCode.HTTP_TO_HTTPS,
        "Client sent an HTTP request to an HTTPS server.",
        "20.10",
    ),
    MessageRule(
        r"tls: (?:bad certificate|certificate required)|No required SSL certificate",
        FaultCode.TLS_CLIENT_CERT,
        "remote error: tls: certificate required",
        "20.10",
    ),
    MessageRule(
        r"\btls: |\bx509: ", FaultCode.TLS_FAILED, "remote error: tls: handshake failure", "20.10"
    ),
    MessageRule(
        r"no such host",
        FaultCode.DNS_NOT_FOUND,
        "dial tcp: lookup no-such-host.invalid on 10.255.255.53:53: no such host",
        "20.10",
    ),
    MessageRule(
        r"server misbehaving|\blookup \S+(?: on \S+)?: |name resolution",
        FaultCode.DNS_FAILURE,
        "dial tcp: lookup r.example on 10.0.0.53:53: read udp 10.0.0.2:9: i/o timeout",
        "20.10",
    ),
    MessageRule(
        r"connection refused",
        FaultCode.CONN_REFUSED,
        "dial tcp 127.0.0.1:15999: connect: connection refused",
        "20.10",
    ),
    MessageRule(
        r"no route to host|network is unreachable|connect: (?:permission denied|invalid argument)",
        FaultCode.NO_ROUTE,
        'Get "https://192.0.2.9/v2/": dial tcp 192.0.2.9:443: connect: permission denied',
        "20.10",
    ),
    MessageRule(
        r"i/o timeout|Client\.Timeout|deadline exceeded|connection timed out",
        FaultCode.CONN_TIMEOUT,
        "net/http: request canceled while waiting for connection (Client.Timeout exceeded while "
        "awaiting headers)",
        "20.10",
    ),
)

INTERRUPTION_RULES = (
    MessageRule(
        r"\bEOF\b|connection reset|TLS handshake timeout|broken pipe|closed network connection"
        r"|expected HTTP 206",
        FaultCode.CONN_RESET,
        'Get "http://127.0.0.1:15031/v2/": EOF',
        "20.10",
    ),
    MessageRule(
        r"context canceled", FaultCode.ENGINE_STREAM_TRUNCATED, "context canceled", "20.10"
    ),
)
