"""Reports about an image: its SBOM, and the vulnerabilities that a scanner found in it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Severity = Literal["critical", "high", "medium", "low", "unknown"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "unknown")
"""The most severe first. What a scanner calls negligible is low."""

SbomFormat = Literal["spdx", "cyclonedx"]
Scanner = Literal["trivy", "grype"]


class _Report(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )


class Sbom(_Report):
    """An SBOM; ``attached`` is the digest of its manifest beside the image, if it is stored there.

    ``packages`` were found; ``left_out`` of them are not in the index that is searched.
    """

    format: SbomFormat
    attached: str | None = None
    tool: str
    tool_version: str
    packages: int = Field(ge=0)
    left_out: int = Field(default=0, ge=0)


class Finding(_Report):
    """A vulnerability of a package; ``fixed_version`` is empty if there is none.

    ``excepted``: an exception of the policy accepted it at the time of the scan.
    """

    vulnerability: str
    package: str
    version: str
    fixed_version: str = ""
    severity: Severity
    title: str = ""
    excepted: bool = False


class Vulnerabilities(_Report):
    """The report of a scanner.

    ``findings`` are those that were not excepted, the most severe first, then excepted ones; the
    last ``left_out`` ones are not listed. ``counts`` are of all, by severity.
    ``database_built_at`` is the age of what the scanner knows; ``None`` if it does not say.
    """

    scanner: Scanner
    scanner_version: str
    database_built_at: datetime | None = None
    counts: Mapping[Severity, int]
    excepted: int = Field(default=0, ge=0)
    findings: tuple[Finding, ...] = ()
    left_out: int = Field(default=0, ge=0)
