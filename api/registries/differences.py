"""Say in a sentence from which servers a registry works and from which not, and why."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.faults import FaultCode
from shared.jobs.states import State

MAX_NAMES = 5

REASONS: Mapping[str, str] = {
    FaultCode.TLS_UNKNOWN_CA: "does not trust the CA",
    FaultCode.TLS_EXPIRED: "finds that the certificate has expired",
    FaultCode.TLS_NAME_MISMATCH: "finds another name in the certificate",
    FaultCode.TLS_NOT_OFFERED: "finds no TLS, and does not list the registry as insecure",
    FaultCode.TLS_CLIENT_CERT: "has no client certificate",
    FaultCode.DNS_NOT_FOUND: "does not find the name",
    FaultCode.DNS_FAILURE: "gets no answer from its DNS server",
    FaultCode.CONN_REFUSED: "finds that nothing listens there",
    FaultCode.CONN_TIMEOUT: "gets no answer",
    FaultCode.CONN_RESET: "loses the connection",
    FaultCode.NO_ROUTE: "has no route to it",
    FaultCode.NETWORK_REFUSED: "may not connect to its address",
    FaultCode.PROXY_ERROR: "does not get through its proxy",
    FaultCode.BLOCKED_BY_PROXY: "is refused by a firewall or proxy",
    FaultCode.AUTH_SERVER_UNREACHABLE: "does not reach the token server",
    FaultCode.RATE_LIMITED: "has used up its address's limit",
    FaultCode.ENGINE_UNREACHABLE: "has no Docker that answers",
}
"""The cause in words, of a server where others succeed; other codes are shown as they are."""


@dataclass(frozen=True)
class Check:
    """The newest test of a registry from a server."""

    registry: str
    server: str
    state: State
    code: str | None


def describe_differences(tests: Iterable[Check]) -> list[str]:
    """Return a sentence for each registry that works from some servers and not from others.

    ``ghcr works from web-1 and web-2, not from web-3: web-3 does not trust the CA.``
    """
    by_registry: defaultdict[str, list[Check]] = defaultdict(list)
    for test in tests:
        by_registry[test.registry].append(test)
    sentences = (_describe(name, of_one) for name, of_one in by_registry.items())
    return [sentence for sentence in sentences if sentence]


def _describe(registry: str, tests: Sequence[Check]) -> str:
    works = [test.server for test in tests if test.state is State.SUCCEEDED]
    failed = [test for test in tests if test.state is State.FAILED and test.code]
    if not works or not failed:
        return ""
    servers = [test.server for test in failed]
    reasons = [f"{test.server} {_reason(test.code or '')}" for test in failed[:MAX_NAMES]]
    return f"{registry} works from {_list(works)}, not from {_list(servers)}: {_list(reasons)}."


def _reason(code: str) -> str:
    return REASONS.get(code, f"fails with {code}")


def _list(names: Sequence[str]) -> str:
    shown = list(names[:MAX_NAMES])
    if len(names) > MAX_NAMES:
        shown.append(f"{len(names) - MAX_NAMES} more")
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last
