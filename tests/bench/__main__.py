"""``make bench``: all figures in one run; a table on the screen, JSON in ``.data/bench.json``.

``python -m tests.bench PART …`` measures only these parts.
"""

import sys
from pathlib import Path

from tests.bench import (
    accepting,
    building,
    copies,
    deploying,
    footprint,
    latency,
    logins,
    million,
    readers,
    transfers,
)
from tests.bench.console import consoles, newcomer, pages
from tests.bench.measure import Figure, keep, table
from tests.bench.safety import backups
from tests.bench.scene import open_scene

PARTS = {
    "footprint": footprint,
    "latency": latency,
    "logins": logins,
    "transfers": transfers,
    "copies": copies,
    "building": building,
    "deploying": deploying,
    "accepting": accepting,
    "readers": readers,
    "million": million,
    "backups": backups,
    "pages": pages,
    "consoles": consoles,
    "newcomer": newcomer,
}
KEPT = Path(".data/bench.json")


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    figures: list[Figure] = []
    with open_scene() as scene:
        for name in wanted:
            print(f"{name} …", flush=True)  # noqa: T201 - a person waits
            figures.extend(PARTS[name].measure(scene))
    keep(figures, KEPT)
    print(table(figures))  # noqa: T201


if __name__ == "__main__":
    main()
