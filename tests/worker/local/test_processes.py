import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import SetupError
from tests.worker.local.conditions import wait_until
from worker.local.processes import Child, free_port, is_listening, on_free_port

STARTS_A_CHILD = """
import sys
from pathlib import Path
from worker.local.processes import Child
print(Child.start("sleeper", ["sleep", "600"], log=Path(sys.argv[1])).pid, flush=True)
sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_A_CHILD, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)

        parent.kill()

    wait_until(lambda: is_gone(child))


def test_stop_asks_with_the_chosen_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap 'echo asked; exit 0' USR1; echo ready; while :; do sleep 0.02; done"
    child = Child.start("shell", ["sh", "-c", script], log=log, stop_signal=signal.SIGUSR1)
    child.wait_until(lambda: "ready" in log.read_text(), deadline=timedelta(seconds=5))

    child.stop()

    assert "asked" in log.read_text()
    assert not child.is_alive


def test_stop_kills_a_child_that_does_not_listen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "trap '' TERM; echo ready; while :; do sleep 0.02; done"
    child = Child.start("shell", ["sh", "-c", script], log=log)
    child.patience = timedelta(milliseconds=100)
    child.wait_until(lambda: "ready" in log.read_text(), deadline=timedelta(seconds=5))

    child.stop()

    assert child.process.returncode == -signal.SIGKILL


def test_the_last_output_of_a_child_that_ends_at_its_start_is_shown(tmp_path: Path) -> None:
    child = Child.start("shell", ["sh", "-c", "echo no such luck; exit 3"], log=tmp_path / "log")

    with pytest.raises(SetupError, match="shell ended at its start: no such luck"):
        child.wait_until(lambda: False, deadline=timedelta(seconds=5))


def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = Child.start("sleeper", ["sleep", "600"], log=tmp_path / "log")

    with pytest.raises(SetupError, match="sleeper is not ready after"):
        child.wait_until(lambda: False, deadline=timedelta(milliseconds=50))

    child.kill()


def test_a_missing_program_is_a_set_up_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot start"):
        Child.start("nothing", [], wrapper=["/no/such/program"], log=tmp_path / "log")


def test_a_port_that_somebody_else_took_is_replaced() -> None:
    tried: list[int] = []

    def start(port: int) -> int:
        tried.append(port)
        if len(tried) < 3:
            raise SetupError("taken")
        return port

    assert on_free_port("127.0.0.1", start) == tried[-1]


def test_a_start_that_fails_on_every_port_fails() -> None:
    def start(port: int) -> int:
        raise SetupError(f"taken: {port}")

    with pytest.raises(SetupError, match="taken"):
        on_free_port("127.0.0.1", start)


def test_nobody_listens_on_a_free_port() -> None:
    assert not is_listening("127.0.0.1", free_port())
