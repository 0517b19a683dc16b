"""Make the SBOM of an image with ``syft``, and list its packages."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from shared.errors import ScanError
from shared.faults import FaultCode
from shared.scans.report import SbomFormat
from worker.scans.programs import Program, run

MAX_INDEX_BYTES = 160_000
"""The packages travel in the result of a job, which is limited to 256 KiB."""

OVERHEAD_BYTES = 5
_OUTPUTS = {"spdx": "spdx-json", "cyclonedx": "cyclonedx-json"}


@dataclass(frozen=True)
class Package:
    """A package; ``type`` is that of its package URL, else what ``syft`` calls it."""

    type: str
    name: str
    version: str


@dataclass(frozen=True)
class MadeSbom:
    """An SBOM document, and the packages in it."""

    content: bytes
    tool_version: str
    packages: tuple[Package, ...]


class _Artifact(BaseModel):
    name: str
    version: str = ""
    type: str = ""
    purl: str = ""


class _Descriptor(BaseModel):
    version: str = ""


class _Report(BaseModel):
    artifacts: list[_Artifact]
    descriptor: _Descriptor


async def make_sbom(syft: Program, archive: Path, wanted: SbomFormat, folder: Path) -> MadeSbom:
    """Examine the archive of an image.

    Raises:
        ScanError: ``scan_failed``.
    """
    document, listing = folder / "sbom.json", folder / "packages.json"
    outputs = [f"{_OUTPUTS[wanted]}={document}", f"syft-json={listing}"]
    arguments = [part for output in outputs for part in ("--output", output)]
    await run(syft, ["scan", f"docker-archive:{archive}", "--quiet", *arguments], folder)
    try:
        report = _Report.model_validate_json(await asyncio.to_thread(listing.read_bytes))
        content = await asyncio.to_thread(document.read_bytes)
    except (ValidationError, OSError) as error:
        raise ScanError(FaultCode.SCAN_FAILED, "the report of syft cannot be read") from error
    return MadeSbom(content, report.descriptor.version, tuple(_packages(report.artifacts)))


def make_index(packages: Iterable[Package]) -> tuple[dict[str, tuple[str, ...]], int]:
    """Return ``name@version`` by type, and how many packages had no room."""
    index: dict[str, list[str]] = {}
    size, left_out = 0, 0
    for package in packages:
        entry = f"{package.name}@{package.version}"
        size += len(entry.encode()) + OVERHEAD_BYTES
        if size > MAX_INDEX_BYTES:
            left_out += 1
        else:
            index.setdefault(package.type, []).append(entry)
    return {kind: tuple(entries) for kind, entries in index.items()}, left_out


def _packages(artifacts: Iterable[_Artifact]) -> Iterable[Package]:
    """Return each package once: the same file may be found in several ways."""
    found = {
        Package(_find_type(one), one.name, one.version.replace("@", "-"))
        for one in artifacts
        if one.name and one.type != "file"
    }
    return sorted(found, key=lambda one: (one.type, one.name, one.version))


def _find_type(artifact: _Artifact) -> str:
    scheme, _, rest = artifact.purl.partition(":")
    return rest.partition("/")[0] if scheme == "pkg" and rest else artifact.type or "generic"
