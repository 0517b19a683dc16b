"""The tests of Engines on other Engines; the results become a page of the docs: `make matrix`.

    python -m tests.matrix [NAME ...] [-- TEST ...]

Without names it takes all Engines. It fails if a test fails. Other Engines, and other tests, keep
their results.
"""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

from tests.engines import SCRIPT, VARIABLE
from tests.matrix.results import Result, read_results, write_results

ROOT = Path(__file__).parent.parent.parent
TESTS = (
    *("tests/worker/engine", "tests/worker/images", "tests/worker/builds"),
    *("tests/worker/deployments", "tests/journeys"),
)
ENGINES = {
    **dict.fromkeys(("20.10", "26.1", "28.5", "28.5-containerd"), TESTS),
    "28.5-rootless": TESTS[:3],
    "podman": ("tests/worker/podman",),
}
"""The tests of each Engine, by its name in `.ci/engines`."""


def run(name: str, test: str) -> Result:
    """Run the tests of a folder or file on one Engine."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "junit.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-n", "2", f"--junitxml={report}", test],
            cwd=ROOT,
            env={**os.environ, VARIABLE: name},
            check=False,
        )
        return read_report(report, find_version(name))


def find_version(name: str) -> str:
    """Return the version of an Engine that `.ci/engines` unpacks: ``28.5.2``."""
    folder = _output([SCRIPT, name])
    shown = re.search(r"[0-9]+(?:\.[0-9]+)+", _output([Path(folder) / "dockerd", "--version"]))
    assert shown is not None
    return shown[0]


def read_report(report: Path, version: str) -> Result:
    """Return the counts of pytest's report."""
    suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - pytest wrote it
    assert suite is not None
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    return Result(
        version=version,
        passed=counts["tests"] - failed - counts["skipped"],
        failed=failed,
        skipped=counts["skipped"],
        day=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def main(words: list[str]) -> int:
    """Test the Engines and keep the results."""
    at = words.index("--") if "--" in words else len(words)
    names, tests = words[:at] or list(ENGINES), words[at + 1 :]
    has_failed = False
    for name in names:
        for test in tests or ENGINES[name]:
            result = run(name, test)
            results = read_results()
            results.setdefault(name, {})[test.removeprefix("tests/")] = result
            write_results(results)
            has_failed |= bool(result.failed)
    return int(has_failed)


def _output(command: list[str | Path]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
