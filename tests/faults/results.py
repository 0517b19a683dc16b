"""The kept answers of the last runs of ``make faults``, by Engine, and their page of the docs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from shared.faults import FAULTS as VERDICTS
from shared.faults import FaultCode
from tests.faults.fault import Fault
from tests.faults.table import FAULTS
from tests.faults.verdicts import Judged, Operation, Verdict

DIRECTORY = Path(__file__).parent / "results"
SHOWN = (Verdict.RIGHT, Verdict.GENERIC, Verdict.MISLEADING, Verdict.FALSE_OK, Verdict.FALSE_ALARM)


class KeptAnswer(BaseModel):
    """The answer to one operation under one fault; ``code`` is empty for a success."""

    fault: str
    operation: Operation
    verdict: Verdict
    code: str


_ANSWERS = TypeAdapter(list[KeptAnswer])


def write_results(engine: str, judged: Sequence[Judged]) -> None:
    """Keep the answers of a run; those of faults that it left out stay."""
    made = [
        KeptAnswer(
            fault=one.fault,
            operation=one.operation,
            verdict=one.verdict,
            code=one.answer.code or "",
        )
        for one in judged
    ]
    run = {answer.fault for answer in made}
    kept = [answer for answer in read_results().get(engine, ()) if answer.fault not in run]
    order = {fault.name: place for place, fault in enumerate(FAULTS)}
    known = [answer for answer in (*kept, *made) if answer.fault in order]
    DIRECTORY.mkdir(exist_ok=True)
    lines = ",\n".join(
        json.dumps(answer.model_dump(mode="json"))
        for answer in sorted(known, key=lambda answer: order[answer.fault])
    )
    (DIRECTORY / f"{engine}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read_results() -> dict[str, list[KeptAnswer]]:
    """Return the kept answers by Engine."""
    files = sorted(DIRECTORY.glob("*.json"))
    return {file.stem: _ANSWERS.validate_json(file.read_bytes()) for file in files}


def make_faults_page(introduction: str) -> str:
    """Return the page as Markdown."""
    results = read_results()
    lines = [introduction, "## Figures", "", *_figures(results)]
    lines += ["", "## Faults", "", *_table(results)]
    return "\n".join(lines).rstrip() + "\n"


def _figures(results: Mapping[str, Sequence[KeptAnswer]]) -> list[str]:
    lines = ["| Engine | answers | " + " | ".join(SHOWN) + " | overdue |"]
    lines.append("|" + "---|" * (len(SHOWN) + 3))
    for engine, answers in results.items():
        found = Counter(answer.verdict for answer in answers)
        figures = [str(found[verdict]) for verdict in (*SHOWN, Verdict.OVERDUE)]
        lines.append(f"| {engine} | {len(answers)} | {' | '.join(figures)} |")
    return lines


def _table(results: Mapping[str, Sequence[KeptAnswer]]) -> list[str]:
    lines = ["| fault | right codes | remedy | " + " | ".join(results) + " |"]
    lines.append("|" + "---|" * (len(results) + 3))
    for fault in FAULTS:
        codes = _codes(fault)
        shown = ", ".join(f"`{code}`" for code in codes) or "none: it works"
        remedy = VERDICTS[codes[0]].remedy if codes else ""
        cells = [_cell(fault, answers) for answers in results.values()]
        lines.append(f"| {fault.name} | {shown} | {remedy} | {' | '.join(cells)} |")
    return lines


def _codes(fault: Fault) -> list[FaultCode]:
    in_order = (fault.expected.get(operation, ()) for operation in Operation)
    return list(dict.fromkeys(code for expected in in_order for code in expected))


def _cell(fault: Fault, answers: Sequence[KeptAnswer]) -> str:
    mine = [answer for answer in answers if answer.fault == fault.name]
    right = sum(answer.verdict is Verdict.RIGHT for answer in mine)
    other = [answer for answer in mine if answer.verdict is not Verdict.RIGHT]
    names = "; ".join(f"{one.operation}: {one.code or 'success'}" for one in other)
    return f"{right} of {len(mine)}" + (f" ({names})" if names else "")
