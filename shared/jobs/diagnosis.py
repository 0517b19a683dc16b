"""Results of a connection test, stage by stage: a job's result, and what the API shows.

```text
parse → policy → dns → tcp → tls → ping → auth → pull → push → catalog → engine
```

The first hard failure ends the test; later stages are ``not_run``. ``engine`` is the result of the
server's Docker Engine for the same registry, added after the other stages.
"""

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from shared.faults import FAULTS, Fault, FaultCode
from shared.reference import HUB, HUB_LIBRARY, RegistryHost, parse_prefix

PROBE_REPOSITORY = "connection-test"
"""The last part of a test's repository; nothing is ever stored in it."""

Right = Literal["pull", "push", "delete"]


class ExcessCode(StrEnum):
    """The rights of a login beyond need."""

    DELETE = "delete"
    EVERYTHING = "everything"
    ADMINISTRATOR = "administrator"
    ALL_REPOSITORIES = "all_repositories"
    PERSONAL_ACCOUNT = "personal_account"


class Stage(StrEnum):
    PARSE = "parse"
    POLICY = "policy"
    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    PING = "ping"
    AUTH = "auth"
    PULL = "pull"
    PUSH = "push"
    CATALOG = "catalog"
    ENGINE = "engine"


class Outcome(StrEnum):
    """A ``warning`` ends nothing; ``skipped``: not requested; ``not_run``: not reached."""

    OK = "ok"
    FAILED = "failed"
    WARNING = "warning"
    SKIPPED = "skipped"
    NOT_RUN = "not_run"


def make_probe_repository(host: RegistryHost, image_prefix: str | None, username: str) -> str:
    """Return the repository whose permissions a test checks: ``PREFIX/connection-test``.

    On Docker Hub, where every repository has a namespace, it is the username by default.

    Raises:
        InvalidReferenceError: a prefix of another registry, or an invalid one.
    """
    namespace = parse_prefix(host, image_prefix)
    if not namespace and host.name == HUB:
        namespace = username.lower() or HUB_LIBRARY
    return f"{namespace}/{PROBE_REPOSITORY}" if namespace else PROBE_REPOSITORY


class _Record(BaseModel):
    # Unknown fields are ignored, so that an older API can read a newer worker's report.
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class StageResult(_Record):
    """One stage; ``evidence`` is a sentence without secrets."""

    stage: Stage
    outcome: Outcome
    code: FaultCode | None = None
    milliseconds: float = 0.0
    evidence: str = ""
    remedy: str = ""
    retry_after_seconds: float | None = None


class Excess(_Record):
    """A right of a login beyond pull and push in the tested repository."""

    code: ExcessCode
    message: str


class ProbeReport(_Record):
    """All stages of a test; ``host`` and ``repository`` are empty where they could not be read.

    ``excess`` is what the login may do beyond need, as far as that is known.
    """

    host: str = ""
    repository: str = ""
    stages: tuple[StageResult, ...]
    verified: tuple[str, ...] = ()
    not_verified: tuple[str, ...] = ()
    excess: tuple[Excess, ...] = ()

    def fault(self) -> Fault | None:
        """Return the first hard failure, or ``None``."""
        failed = (result for result in self.stages if result.outcome is Outcome.FAILED)
        return next((_fault(result) for result in failed), None)

    def with_stage(
        self, result: StageResult, *, verified: str = "", not_verified: str = ""
    ) -> Self:
        """Return the report with one more stage, and with what that stage verified or did not."""
        return self.model_copy(
            update={
                "stages": (*self.stages, result),
                "verified": (*self.verified, *([verified] if verified else [])),
                "not_verified": (*self.not_verified, *([not_verified] if not_verified else [])),
            }
        )


def _fault(result: StageResult) -> Fault:
    code = result.code or FaultCode.REGISTRY_ERROR
    return Fault(
        code=code,
        message=result.evidence,
        remedy=result.remedy or FAULTS[code].remedy,
        retryable=FAULTS[code].retryable,
        stage=result.stage,
        retry_after_seconds=result.retry_after_seconds,
    )
