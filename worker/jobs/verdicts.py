"""Weigh what a Docker Engine reported about a transfer, and what its registry said to the worker.

A pure function. The order of the rules:

```text
both name the same cause                             the registry, which names what it is about
the Engine's words leave no other cause              the Engine
the worker found nothing wrong                       the Engine, unless that contradicts it
the registry refused the worker, wherever it asks    the registry
the Engine gave no cause                             the registry
the Engine got further than the worker does now      the Engine
anything else                                        the registry
```

Both are shown in any case: one as the message, the other as evidence. A cause that neither of them
names stays ``engine_refused``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Stage

MAX_EVIDENCE = 500

GENERIC_CODES = frozenset(
    {
        FaultCode.ENGINE_REFUSED,
        FaultCode.ENGINE_STALLED,
        FaultCode.ENGINE_STREAM_TRUNCATED,
        FaultCode.TRANSFER_TIMEOUT,
    }
)
"""Codes that say that a transfer failed, and not why."""

PLACE_CODES = frozenset(
    {
        FaultCode.NETWORK_REFUSED,
        FaultCode.DNS_NOT_FOUND,
        FaultCode.DNS_FAILURE,
        FaultCode.CONN_REFUSED,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_RESET,
        FaultCode.NO_ROUTE,
        FaultCode.TLS_UNKNOWN_CA,
        FaultCode.TLS_EXPIRED,
        FaultCode.TLS_NAME_MISMATCH,
        FaultCode.TLS_NOT_OFFERED,
        FaultCode.TLS_FAILED,
        FaultCode.TLS_CLIENT_CERT,
        FaultCode.PLAIN_HTTP_REFUSED,
        FaultCode.HTTP_TO_HTTPS,
        FaultCode.PROXY_ERROR,
    }
)
"""Codes that an Engine may not see: it has its own proxy, mirrors and certificates."""

LOGIN_CODES = frozenset({FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.AUTH_MISSING})
CONTENT_CODES = frozenset(
    {FaultCode.NOT_AN_IMAGE, FaultCode.COMPRESSION_UNSUPPORTED, FaultCode.PLATFORM_MISSING}
)

_STAGES = {
    FaultCode.DNS_NOT_FOUND: Stage.DNS,
    FaultCode.DNS_FAILURE: Stage.DNS,
    FaultCode.CONN_REFUSED: Stage.TCP,
    FaultCode.CONN_TIMEOUT: Stage.TCP,
    FaultCode.CONN_RESET: Stage.TCP,
    FaultCode.NO_ROUTE: Stage.TCP,
    FaultCode.PROXY_ERROR: Stage.TCP,
    FaultCode.TLS_UNKNOWN_CA: Stage.TLS,
    FaultCode.TLS_EXPIRED: Stage.TLS,
    FaultCode.TLS_NAME_MISMATCH: Stage.TLS,
    FaultCode.TLS_NOT_OFFERED: Stage.TLS,
    FaultCode.TLS_FAILED: Stage.TLS,
    FaultCode.TLS_CLIENT_CERT: Stage.TLS,
    FaultCode.PLAIN_HTTP_REFUSED: Stage.TLS,
    FaultCode.HTTP_TO_HTTPS: Stage.TLS,
    FaultCode.NOT_A_REGISTRY: Stage.PING,
    FaultCode.BLOCKED_BY_PROXY: Stage.PING,
    FaultCode.REGISTRY_ERROR: Stage.PING,
    FaultCode.AUTH_SERVER_UNREACHABLE: Stage.AUTH,
    FaultCode.AUTH_BAD_CREDENTIALS: Stage.AUTH,
    FaultCode.AUTH_MISSING: Stage.AUTH,
    FaultCode.AUTH_EXPIRED: Stage.AUTH,
    FaultCode.PUSH_DENIED: Stage.PUSH,
    FaultCode.REPO_MISSING: Stage.PULL,
    FaultCode.PULL_DENIED: Stage.PULL,
    FaultCode.IMAGE_NOT_FOUND: Stage.PULL,
    FaultCode.IMAGE_INCOMPLETE: Stage.PULL,
    FaultCode.UPLOAD_CORRUPT: Stage.PUSH,
}
"""The stage at which an Engine has failed; other codes do not tell it."""

_ORDER: Sequence[Stage] = tuple(Stage)

_SAME = re.compile(r"cannot (?:look up|pull|push|push to) (?P<name>\S+): (?P<reason>.+)", re.DOTALL)


@dataclass(frozen=True)
class EngineReport:
    """The report of the Engine: a code read from its words, and the message.

    ``waited_for`` is the number of other transfers that the Engine had under way, if this one
    waited all the time and moved nothing.
    """

    code: FaultCode
    message: str
    is_certain: bool
    remedy: str = ""
    evidence: str = ""
    seconds: float = 0.0
    waited_for: int = 0


@dataclass(frozen=True)
class RegistryReport:
    """The report of the worker on the registry; no ``code`` if nothing is wrong there.

    ``is_complete`` if everything was asked and granted, ``has_logged_in`` if with the login.
    ``is_open`` if it asks for no login at first, ``has_image`` if the image for the server's
    platform was read.
    """

    stage: Stage
    code: FaultCode | None = None
    message: str = ""
    remedy: str = ""
    evidence: str = ""
    retry_after_seconds: float | None = None
    is_complete: bool = False
    is_open: bool = False
    has_logged_in: bool = False
    has_image: bool = False
    seconds: float = 0.0

    @property
    def is_certain(self) -> bool:
        """True for a refusal that any client gets from the registry, now and later."""
        code = self.code
        return code is not None and code not in PLACE_CODES and not FAULTS[code].retryable


@dataclass(frozen=True)
class Opinion:
    """The weighed verdict; whether to retry follows from the code (`shared.faults`)."""

    code: FaultCode
    message: str
    remedy: str
    evidence: str
    stage: Stage | None
    retry_after_seconds: float | None
    is_certain: bool

    @property
    def retryable(self) -> bool:
        return FAULTS[self.code].retryable


def weigh(subject: str, engine: EngineReport, registry: RegistryReport) -> Opinion:
    """Return the verdict of both reports on ``subject``, as in ``cannot pull HOST/app:1``."""
    if registry.code is not None and _prevails(engine, registry):
        return _by_registry(subject, registry.code, engine, registry)
    if registry.code is None and registry.is_complete and not engine.is_certain:
        return _contradicted(subject, engine, registry)
    return _by_engine(engine, registry)


def name_subject(subject: str, message: str) -> str:
    """Return a message of the registry's client that begins with the whole operation.

    ``cannot push to HOST/app: reason`` → ``cannot push HOST/app:1: reason``; other messages follow
    after a colon.
    """
    found = _SAME.fullmatch(message)
    is_same = found is not None and "/" in found["name"] and found["name"] in subject
    return f"{subject}: {found['reason'] if found and is_same else message}"


def _prevails(engine: EngineReport, registry: RegistryReport) -> bool:
    """Return whether the registry's answer says more than the Engine's words, or the same."""
    code = registry.code
    if code == engine.code:
        return True
    if engine.is_certain:
        return False
    if registry.is_certain or engine.code in GENERIC_CODES:
        return True
    reached = _STAGES.get(engine.code)
    if reached is None:
        return False
    further = _ORDER.index(reached) - _ORDER.index(registry.stage)
    is_passing = code is not None and FAULTS[code].retryable
    return further < 0 or (further == 0 and not (is_passing and not FAULTS[engine.code].retryable))


def _by_registry(
    subject: str, code: FaultCode, engine: EngineReport, registry: RegistryReport
) -> Opinion:
    return Opinion(
        code,
        name_subject(subject, registry.message),
        registry.remedy or FAULTS[code].remedy,
        _join(registry.evidence, f"the Docker Engine reports: {engine.message}", engine.evidence),
        registry.stage,
        registry.retry_after_seconds,
        is_certain=registry.is_certain or engine.is_certain,
    )


def _by_engine(engine: EngineReport, registry: RegistryReport, note: str = "") -> Opinion:
    asked = f"the registry, asked by the worker: {registry.message}" if registry.code else ""
    return Opinion(
        engine.code,
        engine.message,
        engine.remedy or FAULTS[engine.code].remedy,
        _join(engine.evidence, note or asked, registry.evidence if registry.code else ""),
        _STAGES.get(engine.code),
        registry.retry_after_seconds if FAULTS[engine.code].retryable else None,
        is_certain=engine.is_certain,
    )


def _contradicted(subject: str, engine: EngineReport, registry: RegistryReport) -> Opinion:
    """Return the verdict where the worker may do now what the Engine could not."""
    note = "the worker asked the registry for the same, and found nothing wrong"
    if engine.code is FaultCode.ENGINE_STALLED and engine.waited_for:
        others = "transfer" if engine.waited_for == 1 else "transfers"
        return _changed(
            FaultCode.ENGINE_BUSY,
            f"{subject}: the Docker Engine is busy with {engine.waited_for} other {others}",
            engine,
            registry,
        )
    if engine.code in LOGIN_CODES and registry.has_logged_in:
        return _changed(
            FaultCode.REGISTRY_ERROR,
            f"{subject}: the registry refused the Docker Engine's login or token, but accepts the "
            "same login from the worker",
            engine,
            registry,
            remedy="It is retried. If it fails again, the registry's tokens may end too early, or "
            "the clocks of the registry and its token server differ.",
        )
    if engine.code is FaultCode.AUTH_BAD_CREDENTIALS and registry.is_open:
        return _changed(
            FaultCode.AUTH_MISSING,
            f"{subject}: the registry asks for no login at /v2/, so that the Docker Engine sends "
            "none, and then refuses it",
            engine,
            registry,
            remedy="Configure the registry, or the proxy in front of it, to ask for a login at "
            "/v2/ too.",
        )
    if engine.code in CONTENT_CODES and registry.has_image:
        return _changed(
            FaultCode.ENGINE_REFUSED,
            f"{engine.message}; the registry has an image for this server",
            engine,
            registry,
            remedy="This Docker Engine cannot read the image, for example an index within an "
            "index: name the image itself by its digest, or update the Docker Engine.",
        )
    return _by_engine(engine, registry, note)


def _changed(
    code: FaultCode,
    message: str,
    engine: EngineReport,
    registry: RegistryReport,
    remedy: str = "",
) -> Opinion:
    return Opinion(
        code,
        message,
        remedy or FAULTS[code].remedy,
        _join(f"the Docker Engine reports: {engine.message}", engine.evidence),
        registry.stage,
        registry.retry_after_seconds,
        is_certain=False,
    )


def _join(*parts: str) -> str:
    return "; ".join(dict.fromkeys(part for part in parts if part))[:MAX_EVIDENCE]
