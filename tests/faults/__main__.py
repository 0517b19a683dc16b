"""``make faults``: every operation under every fault; a table, and 1 below the goal."""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.engines import VARIABLE, choose_engine
from tests.faults.driver import open_driver
from tests.faults.fault import Fault
from tests.faults.results import write_results
from tests.faults.scene import open_scene
from tests.faults.table import FAULTS
from tests.faults.verdicts import Judged, Operation, Verdict, count

GOAL = 0.95
"""The part of all answers that are right; none may be a false success or misleading."""


def main() -> None:
    """Run the faults and print their table."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="faults with this in their name")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--write", action="store_true", help="keep the answers for the docs")
    options = parser.parse_args()
    choose_engine()
    # A client that hangs up in the middle is what many faults lead to.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    faults = [fault for fault in FAULTS if any(part in fault.name for part in options.only)]
    begun = time.monotonic()
    judged = asyncio.run(_run(faults, options.at_once))
    _say(summary(judged, time.monotonic() - begun))
    if options.write:
        write_results(os.environ.get(VARIABLE) or "20.10", judged)
    found = count(judged)
    is_good = not (found[Verdict.FALSE_OK] or found[Verdict.MISLEADING])
    sys.exit(0 if is_good and found[Verdict.RIGHT] >= GOAL * len(judged) else 1)


async def _run(faults: Sequence[Fault], at_once: int) -> list[Judged]:
    with TemporaryDirectory(prefix="faults-") as directory, open_scene(Path(directory)) as scene:
        async with open_driver(scene, _report) as driver:
            return await driver.run(faults, at_once=at_once)


def _report(judged: Judged) -> None:
    if judged.verdict is not Verdict.RIGHT:
        _say(describe(judged))


def describe(judged: Judged) -> str:
    """Return one line about an answer that is not right."""
    answer = judged.answer
    expected = "/".join(judged.expected) or "success"
    reported = answer.code or "success"
    return (
        f"{judged.verdict}: {judged.fault} | {judged.operation} | {reported}, not {expected} "
        f"({answer.seconds:.1f} s) {answer.message[:200]}"
    )


def summary(judged: Sequence[Judged], seconds: float) -> str:
    """Return the figures of a run."""
    found = count(judged)
    lines = [f"{len(judged)} answers in {seconds:.0f} s"]
    lines += [f"{verdict}: {found[verdict]}" for verdict in Verdict]
    for operation in Operation:
        mine = [one for one in judged if one.operation is operation]
        right = sum(one.verdict is Verdict.RIGHT for one in mine)
        lines.append(f"{operation}: {right} of {len(mine)} right")
    return "\n".join(lines)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
