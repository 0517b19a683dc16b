"""The Celery app of a worker, as a process of its own."""

import os
import subprocess
import sys

import pytest

CHECK = "from celery.platforms import check_privileges; check_privileges(['json'])"


def run(program: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=True
    )
    return ran.stderr


def test_a_worker_of_root_starts_without_a_warning_of_celery() -> None:
    if os.geteuid():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("only root is warned")

    assert "superuser" in run(CHECK)
    assert run(f"import worker.server.app; {CHECK}") == ""
