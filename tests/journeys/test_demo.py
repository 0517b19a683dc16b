"""``wharf demo``, as a person runs it: it proves what it says, and leaves nothing behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.worker.local.test_up import PROGRAMS, processes_in
from worker.local.engines import engines_possible

pytestmark = pytest.mark.timeout(240)

PROVED = (
    "A registry is stored, its password sealed",
    "dock-1 logs in, may pull and push",
    "dock-2 sees a wrong password: auth: auth_bad_credentials",
    "An image is pushed, its digest confirmed",
    "dock-2 pulls it by that digest",
    "An application is built from its git repository, and pushed",
    "It is kept in a second registry, byte for byte",
    "dock-2 pulls what was kept, by its digest",
    "It runs on dock-1 and dock-2, healthy",
    "A broken version is refused, the first goes on answering",
    "A good version takes its place",
    "A transfer is cancelled in the middle",
)


@pytest.fixture
def place() -> Iterator[Path]:
    """Its directory, with a short path, as sockets lie in it."""
    with TemporaryDirectory(prefix="wharf-") as folder:
        yield Path(folder)


def test_the_demo_shows_the_main_job_on_two_servers_and_leaves_nothing(place: Path) -> None:
    if why_not := engines_possible():
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"the demo needs Engines of its own: {why_not}")

    ran = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "demo"],
        env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": PROGRAMS, "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert [what for what in PROVED if f"✓ {what}" not in ran.stdout] == []
    assert processes_in(place) == []
    assert list(place.iterdir()) == []
