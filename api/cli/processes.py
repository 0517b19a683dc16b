"""Run a part of the product in place of this process, by its command line."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

DataDirectory = Annotated[Path | None, typer.Option("--data-dir", help="Directory of all data.")]
RunningDirectory = Annotated[
    Path | None, typer.Option("--data-dir", help="The data directory of wharf up.")
]


def data_dir_words(path: Path | None) -> tuple[str, ...]:
    """Return the option for the other process."""
    return ("--data-dir", str(path)) if path else ()


def become(module: str, *arguments: str) -> NoReturn:
    """Run a module with these arguments."""
    os.execv(sys.executable, (sys.executable, "-m", module, *arguments))  # noqa: S606 - no shell
