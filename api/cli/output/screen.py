"""Lines and progress on standard error while a command waits: bars on a terminal, else lines."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from api.cli.output.text import printable, write_note
from api.cli.output.units import show_bytes, show_seconds

LINE_SECONDS = 10.0
"""The time between two lines about the progress of one transfer."""

MAX_LAYERS = 8
MOVES = frozenset({"moving", "retrying"})

Stage = Mapping[str, Any]


@dataclass
class Screen:
    """Shows what happens; use it as a context, which ends the bars."""

    clock: Callable[[], float] = time.monotonic
    _bars: Any = None
    _tasks: dict[str, Any] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _stages: dict[str, list[str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bars = _open_bars()
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @property
    def has_bars(self) -> bool:
        """Return whether there is a terminal, so that progress is worth asking for."""
        return self._bars is not None

    def line(self, text: str) -> None:
        """Write one line, above the bars."""
        if self._bars is None:
            write_note(text)
            return
        from rich.text import Text  # noqa: PLC0415 - only a terminal needs it

        self._bars.console.print(Text(printable(text)))

    def progress(self, name: str, transfer: Mapping[str, Any] | None) -> None:
        """Show how far a transfer is, or the new stages of a test; all else shows nothing."""
        if transfer and isinstance(transfer.get("stages"), list):
            stages = [each for each in transfer["stages"] if isinstance(each, Mapping)]
            self._show_stages(name, [stage_text(each) for each in stages])
        if not transfer or not isinstance(transfer.get("currentBytes"), int):
            return
        if self._bars is not None:
            self._move_bars(name, transfer)
        elif self._is_due(name):
            write_note(f"{name}: {describe(transfer)}")

    def _show_stages(self, name: str, texts: list[str]) -> None:
        before = self._stages.get(name, [])
        is_longer = texts[: len(before)] == before
        for text in texts[len(before) :] if is_longer else texts:
            self.line(f"{name}: {text}")
        self._stages[name] = texts

    def _is_due(self, name: str) -> bool:
        now = self.clock()
        if self._due.setdefault(name, now + LINE_SECONDS) > now:
            return False
        self._due[name] = now + LINE_SECONDS
        return True

    def _move_bars(self, name: str, transfer: Mapping[str, Any]) -> None:
        self._move(name, transfer, _speed(transfer))
        layers = [one for one in transfer.get("layers") or () if one["state"] in MOVES]
        shown = {f"  {printable(str(one['id']))[:19]}": one for one in layers[:MAX_LAYERS]}
        for gone in [one for one in self._tasks if one.startswith("  ") and one not in shown]:
            self._bars.remove_task(self._tasks.pop(gone))
        for layer, one in shown.items():
            self._move(layer, one, "")

    def _move(self, name: str, moved: Mapping[str, Any], speed: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(printable(name), speed="")
        # A total of zero is not known yet: then the bar only says that something moves.
        self._bars.update(
            self._tasks[name],
            completed=moved["currentBytes"],
            total=moved["totalBytes"] or None,
            speed=speed,
        )


def stage_text(stage: Stage) -> str:
    """Return a stage of a test: ``auth: failed: auth_bad_credentials: ...``."""
    words = (stage.get(name) for name in ("outcome", "code", "evidence", "remedy"))
    return f"{stage.get('stage')}: {': '.join(str(word) for word in words if word)}"


def describe(transfer: Mapping[str, Any]) -> str:
    """Return the progress of a transfer: ``34 % of 120.0 MiB, 3.1 MiB/s, 20 s left``."""
    current, total = transfer["currentBytes"], transfer["totalBytes"]
    done = f"{100 * current // total} % of {show_bytes(total)}" if total else show_bytes(current)
    return ", ".join(part for part in (done, _speed(transfer)) if part)


def _speed(transfer: Mapping[str, Any]) -> str:
    rate, left, stalled = (transfer.get(one) for one in ("rate", "secondsLeft", "stalled"))
    if stalled:
        return f"no byte for {show_seconds(stalled['seconds'])}"
    parts = [f"{show_bytes(rate)}/s"] if rate is not None else []
    return ", ".join([*parts, *([f"{show_seconds(left)} left"] if left is not None else [])])


def _open_bars() -> Any:
    # Rich takes a while to import, and only a terminal needs it.
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from api.cli.output.table import open_console  # noqa: PLC0415

    class Name(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(task.description)

    class Speed(ProgressColumn):
        def render(self, task: Any) -> str:
            return escape(task.fields["speed"])

    bars = (Name(), BarColumn(), DownloadColumn(binary_units=True), Speed())
    return Progress(*bars, console=open_console(stderr=True), transient=True)
