"""A small chaos with a fixed seed, for every run of the tests; `make chaos` is the long one."""

import os

import pytest

from tests.chaos.faults import QUICK
from tests.chaos.load import Load
from tests.chaos.plan import draw, make_plan
from tests.chaos.run import Run
from tests.chaos.scene import open_scene
from worker.local.engines import engines_possible

pytestmark = pytest.mark.timeout(240)

SEED = 20261123
JOBS = 100


def test_every_accepted_job_ends_once_whatever_dies() -> None:
    if why_not := engines_possible():
        if os.environ.get("CI"):
            pytest.fail(why_not)
        pytest.skip(f"chaos needs Engines of its own: {why_not}")
    chance = draw(SEED)
    plan = make_plan(QUICK, chance, rounds=1, every=2.5)

    with open_scene(images=6) as scene:
        load = Load(scene, JOBS, JOBS / plan[-1].over, draw(SEED))
        found = Run(scene, load, plan, chance).run()

    assert found.is_good, (found.wrong, found.evidence)
    assert found.states.total() >= JOBS
    assert found.states["succeeded"] > JOBS / 2
    assert found.recoveries["worker kill -9"] < 30
