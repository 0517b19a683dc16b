"""The quick part of ``make faults``: one fault of each kind, on the machine's own Engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.openapi.codes import list_codes
from tests.docs.meanings import MEANINGS
from tests.docs.reference import DIRECTORY
from tests.faults.__main__ import describe
from tests.faults.driver import open_driver
from tests.faults.scene import Scene, open_scene
from tests.faults.table import FAULTS
from tests.faults.verdicts import Verdict
from tests.worker.engine.parts import require_real_parts

QUICK = (
    "good",
    "a wrong password",
    "ping: 503",
    "manifest: firewall's page",
    "upload start: 429",
    "the tag does not exist",
    "nothing listens",
    "an expired certificate",
    "token: pull only",
    "no login: the registry requires one",
    "Docker is not running",
    "Docker's answer is cut",
)


def test_every_fault_has_its_own_name() -> None:
    names = [fault.name for fault in FAULTS]

    assert len(names) == len(set(names))
    assert set(QUICK) <= set(names)


def test_each_right_code_has_a_cause_and_a_remedy_in_the_docs() -> None:
    codes = {code for fault in FAULTS for each in fault.expected.values() for code in each}
    page = (DIRECTORY / "codes.md").read_text(encoding="utf-8")
    sections = {part.partition("\n")[0]: part for part in page.split("\n### ")}
    remedies = {one.code: one.remedy for one in list_codes()}

    assert len(codes) > 30
    for code in codes:
        assert MEANINGS[code] in sections[code]
        assert remedies[code]
        assert remedies[code] in sections[code]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    require_real_parts()
    with open_scene(tmp_path) as opened:
        yield opened


async def test_each_operation_names_the_true_cause_of_a_fault(scene: Scene) -> None:
    faults = [fault for fault in FAULTS if fault.name in QUICK]

    async with open_driver(scene) as driver:
        judged = await driver.run(faults)

    wrong = [describe(one) for one in judged if one.verdict is not Verdict.RIGHT]
    assert not wrong, "\n".join(wrong)
