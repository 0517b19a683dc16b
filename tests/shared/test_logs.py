import json
import os
import subprocess
import sys

TWO_WRITERS = """
import logging
import threading
import structlog
from shared.logs import configure_logs

configure_logs("worker")

def say() -> None:
    for number in range(2000):
        structlog.get_logger().info("fact", number=number)

def warn() -> None:
    for number in range(2000):
        logging.getLogger("library").warning("%d", number)

threads = [threading.Thread(target=act) for act in (say, warn, say, warn)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_a_line_is_a_line_whoever_else_writes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", TWO_WRITERS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )

    lines = ran.stderr.splitlines()
    facts = [json.loads(line) for line in lines if line.startswith("{")]
    assert [fact["event"] for fact in facts] == ["fact"] * 4000
    assert sum(line.startswith("WARNING:library:") for line in lines) == len(lines) - 4000 == 4000
