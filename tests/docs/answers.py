"""Compare a shortened answer of a page with a real one, and learn the ids that it names."""

import re
from collections.abc import Iterator
from typing import Any

ID = re.compile(r"[A-Z][A-Z_]*_ID")
ANY = "…"


def compare(shown: Any, real: Any, ids: dict[str, str], path: str = "answer") -> Iterator[str]:
    """Say what differs. ``ids`` gets the ids that the shown answer gives a name to."""
    match shown, real:
        case dict(), dict():
            for name, value in shown.items():
                if name not in real:
                    yield f"{path} has no {name}"
                else:
                    yield from compare(value, real[name], ids, f"{path}.{name}")
        case list(), list():
            yield from _compare_lists(shown, real, ids, path)
        case str(), str():
            yield from _compare_texts(shown, real, ids, path)
        case _ if shown != real or isinstance(shown, bool) != isinstance(real, bool):
            yield f"{path} is {real!r}, not {shown!r}"


def compare_lines(shown: str, real: str) -> Iterator[str]:
    """Say which shown line is not among the real ones, in this order."""
    lines = iter(real.splitlines())
    for wanted in filter(str.strip, shown.splitlines()):
        if wanted.strip() == ANY:
            continue
        if not any(_fits(wanted.strip(), line.strip()) for line in lines):
            yield f"there is no line {wanted!r} in its place"
            return


def _compare_lists(
    shown: list[Any], real: list[Any], ids: dict[str, str], path: str
) -> Iterator[str]:
    start = 0
    for value in shown:
        for index in range(start, len(real)):
            learned: dict[str, str] = dict(ids)
            if not list(compare(value, real[index], learned)):
                ids.update(learned)
                start = index + 1
                break
        else:
            yield f"{path} has no element {value!r}"


def _compare_texts(shown: str, real: str, ids: dict[str, str], path: str) -> Iterator[str]:
    if ID.fullmatch(shown):
        ids[shown] = real
    elif not _fits(replace_ids(shown, ids), real):
        yield f"{path} is {real!r}, not {shown!r}"


def replace_ids(text: str, ids: dict[str, str]) -> str:
    """The text with the real ids; a word that was not learned stays."""
    return ID.sub(lambda match: ids.get(match[0], match[0]), text)


def _fits(shown: str, real: str) -> bool:
    shown, real = (re.sub(" +", " ", text) for text in (shown, real))
    pattern = ".*".join(re.escape(part) for part in shown.split(ANY))
    return re.fullmatch(pattern, real, re.DOTALL) is not None
