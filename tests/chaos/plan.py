"""When which fault strikes: drawn from a seed, so that a run can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from tests.chaos.faults import Kind

BEGIN_SECONDS = 3.0
"""Some jobs are under way before the first fault."""


@dataclass(frozen=True)
class Fault:
    """``at`` is in seconds after the beginning of the run."""

    kind: Kind
    target: int
    at: float

    @property
    def over(self) -> float:
        return self.at + self.kind.seconds

    @property
    def places(self) -> set[tuple[str, int]]:
        return {(subject, self.target) for subject in self.kind.subjects}


def draw(seed: int) -> Random:
    """Chance that can be had again."""
    return Random(seed)  # noqa: S311 - to be repeated, not secret


def make_plan(kinds: Sequence[Kind], chance: Random, *, rounds: int, every: float) -> list[Fault]:
    """Each kind ``rounds`` times in random order, one ``every`` so many seconds and a bit.

    Faults of different things overlap; what has been struck is left alone until it is over.
    """
    order = [kind for _ in range(rounds) for kind in chance.sample(list(kinds), len(kinds))]
    plan: list[Fault] = []
    at = BEGIN_SECONDS
    for kind in order:
        target = chance.randrange(kind.targets)
        fault = Fault(kind, target, at)
        busy = [other.over + 1 for other in plan if other.places & fault.places]
        plan.append(replace(fault, at=max([at, *busy])))
        at += every * chance.uniform(0.5, 1.5)
    return sorted(plan, key=lambda fault: fault.at)
