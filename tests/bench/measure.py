"""Results of a measurement; one figure from several rounds."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One line of the table: ours beside a peer's, and what was hoped for.

    ``ratio`` is ours divided by the peer's; ``goal`` says in which direction it should lie.
    """

    name: str
    unit: str
    ours: float
    peer: float | None = None
    peer_name: str = ""
    goal: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer if self.peer else None


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def table(figures: Sequence[Figure]) -> str:
    """The figures as a Markdown table."""
    lines = ["| what | ours | peer | ratio | goal |", "|---|---|---|---|---|"]
    for figure in figures:
        peer = f"{figure.peer:.3g} ({figure.peer_name})" if figure.peer is not None else ""
        ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
        ours = f"{figure.ours:.3g} {figure.unit}"
        lines.append(f"| {figure.name} | {ours} | {peer} | {ratio} | {figure.goal} |")
    return "\n".join(lines)


def keep(figures: Sequence[Figure], path: Path) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(f) | {"ratio": f.ratio} for f in figures], indent=1))
