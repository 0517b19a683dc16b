"""``make chaos``: every fault, many jobs; a table for each seed, and 1 where anything is wrong."""

import argparse
import sys

from tests.chaos.checker import Findings
from tests.chaos.faults import ALL
from tests.chaos.load import Load
from tests.chaos.plan import draw, make_plan
from tests.chaos.run import Run
from tests.chaos.scene import find_clock, open_scene

ROUNDS = 2
IMAGES = 30
EVERY_SECONDS = 5.0


def main() -> None:
    arguments = _parse()
    all_good = True
    for seed in arguments.seeds:
        found = _run(seed, arguments.jobs, arguments.rounds, arguments.every)
        all_good &= found.is_good
        _say(_table(seed, found))
    sys.exit(0 if all_good else 1)


def _run(seed: int, jobs: int, rounds: int, every: float) -> Findings:
    chance = draw(seed)
    clock = find_clock()
    _say(f"seed {seed}: the workers' clocks are {'ten minutes off' if clock else 'right'}")
    plan = make_plan(ALL, chance, rounds=rounds, every=every)
    with open_scene(images=IMAGES, clock=clock) as scene:
        load = Load(scene, jobs, jobs / plan[-1].over, draw(seed))
        return Run(scene, load, plan, chance, tell=_say).run()


def _table(seed: int, found: Findings) -> str:
    wrong = {name: len(jobs) for name, jobs in found.wrong.items()}
    settled = found.settled_seconds
    lines = [
        f"## seed {seed}: {found.states.total()} jobs, {found.faults.total()} faults",
        "",
        "| " + " | ".join(wrong) + " |",
        "|" + "---|" * len(wrong),
        "| " + " | ".join(str(number) for number in wrong.values()) + " |",
        "",
        f"states {dict(found.states)}; attempts {dict(found.attempts)}",
        f"failed with {dict(found.codes)}",
        f"answers {dict(found.answers)}; most at once {found.most_at_once}",
        f"starts again {dict(found.exits)}",
        f"settled in {settled:.1f} s" if settled is not None else "not settled",
        "",
        "| fault | times | next start after its end |",
        "|---|---|---|",
    ]
    for name, times in found.faults.items():
        seconds = found.recoveries.get(name)
        lines.append(f"| {name} | {times} | {f'{seconds:.1f} s' if seconds is not None else ''} |")
    lines += [f"{name}: {jobs}" for name, jobs in found.wrong.items() if jobs]
    lines += found.evidence
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", dest="seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--every", type=float, default=EVERY_SECONDS)
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
