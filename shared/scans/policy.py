"""The scan policy of an application, or of an organization by default.

It is put into the jobs that scan an image when they are stored: a later change of the policy is for
later requests.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict

from shared.scans.report import SEVERITIES, Finding, SbomFormat, Severity

MAX_EXCEPTIONS = 200

Mode = Literal["off", "warn", "enforce"]
"""``warn``: what is too severe is a warning of the job. ``enforce``: it fails the job."""

MaxSeverity = Literal["none", "low", "medium", "high"]


class ScanException(BaseModel):
    """A vulnerability that is accepted ``until`` then: of one package, or of any."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    vulnerability: str
    package: str | None = None
    reason: str
    until: datetime


class ScanPolicy(BaseModel):
    """What is done with a new image, and the worst that may be found in it.

    ``sbom`` is the format of its SBOM; ``None``: none is made. A finding that is more severe than
    ``max_severity`` violates the policy, unless an exception accepts it. Findings of unknown
    severity do not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    sbom: SbomFormat | None = None
    mode: Mode = "off"
    max_severity: MaxSeverity = "high"
    exceptions: tuple[ScanException, ...] = ()

    @property
    def is_active(self) -> bool:
        """Return whether new images are examined at all."""
        return self.sbom is not None or self.mode != "off"

    def is_excepted(self, vulnerability: str, package: str, now: datetime) -> bool:
        """Return whether an exception accepts the vulnerability at this moment."""
        return any(
            one.vulnerability == vulnerability and one.package in (None, package)
            for one in self.exceptions
            if now < one.until
        )

    def is_too_severe(self, severity: Severity) -> bool:
        return _rank(severity) > (_rank(self.max_severity) if self.max_severity != "none" else 0)

    def find_violations(self, findings: Iterable[Finding], now: datetime) -> list[Finding]:
        """Return the findings that the policy does not accept at this moment."""
        return [
            one
            for one in findings
            if self.is_too_severe(one.severity)
            and not self.is_excepted(one.vulnerability, one.package, now)
        ]


def _rank(severity: Severity) -> int:
    """Return 0 for an unknown severity, 1 for the lowest known one."""
    return len(SEVERITIES) - 1 - SEVERITIES.index(severity)


FIND = """
SELECT coalesce(a.scan_policy, o.scan_policy) AS policy
  FROM application a JOIN organization o USING (organization_id)
 WHERE a.application_id = %s
"""


async def find_scan_policy(connection: AsyncConnection[Any], application_id: str) -> ScanPolicy:
    """Return the policy for an application's images."""
    row = await (await connection.execute(FIND, (application_id,))).fetchone()
    stored = row["policy"] if isinstance(row, dict) else row and row[0]
    return ScanPolicy.model_validate(stored or {})
