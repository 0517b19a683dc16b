"""``wharf demo``, as a person runs it: it proves what it says, and leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journeys.test_up import processes_in
from worker.local.engines import engines_possible

pytestmark = [pytest.mark.xdist_group("journeys"), pytest.mark.timeout(240)]

PROVED = (
    "A registry is stored, its password sealed",
    "dock-1 logs in, may pull and push",
    "dock-2 sees a wrong password: auth: auth_bad_credentials",
    "An image is pushed, its digest confirmed",
    "dock-2 pulls it by that digest",
    "A transfer is cancelled in the middle",
)


def test_the_demo_shows_the_main_job_on_two_servers_and_leaves_nothing(tmp_path: Path) -> None:
    if why_not := engines_possible():
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"the demo needs Engines of its own: {why_not}")

    ran = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "demo"],
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert [what for what in PROVED if f"✓ {what}" not in ran.stdout] == []
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
