"""``make sequences``: as many as are asked for, each of up to so many steps."""

import argparse
import time
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sequences.machine import Deployments
from tests.sequences.scene import open_scene


def main() -> None:
    parser = argparse.ArgumentParser(prog="sequences", description=__doc__)
    parser.add_argument("--examples", type=int, default=50, help="how many sequences")
    parser.add_argument("--steps", type=int, default=8, help="the most steps of one")
    requested = parser.parse_args()
    begun = time.monotonic()
    with open_scene() as scene:
        Deployments.scene = scene
        chosen = settings(
            max_examples=requested.examples,
            stateful_step_count=requested.steps,
            deadline=timedelta(minutes=5),
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
            database=None,
            print_blob=False,
        )
        try:
            run_state_machine_as_test(Deployments, settings=chosen)
        finally:
            for what, count in sorted(Deployments.counts.items()):
                print(f"{count:5} {what}")  # noqa: T201
    took = time.monotonic() - begun
    print(f"{requested.examples} sequences in {took:.0f} s: what is recorded is what runs")  # noqa: T201


if __name__ == "__main__":
    main()
