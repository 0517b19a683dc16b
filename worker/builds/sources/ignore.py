r"""``.dockerignore``: which files of a context are left out, as Docker reads it.

Patterns are Go's ``filepath.Match`` with ``**``; a pattern that matches a directory leaves out all
that is in it, one with ``!`` takes back in, and the last that matches decides
(docs.docker.com/build/concepts/context, "Pattern matching").

All patterns are matched at once, sign by sign. So the time for a path does not depend on how many
ways there are to match it, as it does with Python's regular expressions.
"""

import posixpath
import re
from dataclasses import dataclass, field

from shared.errors import SourceError
from shared.faults import FaultCode

MAX_STEPS = 20_000
MAX_CLASSES = 200

_TOKEN = re.compile(r"\*\*/?|\*|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|.", re.DOTALL)
_STARS = {"*", "**", "**/"}


@dataclass
class Ignore:
    """The patterns of one file, as one automaton.

    Each step of each pattern is a bit, and the last bit of a pattern its end. A state is the set of
    those that have been reached. A sign moves a bit on, or has it stay; ``*`` is moved on without
    a sign.
    """

    takes_back: bool = False
    _size: int = 0
    _start: int = 0
    _ends: dict[int, bool] = field(default_factory=dict)
    _end_bits: int = 0
    _free: int = 0
    _free_by_two: int = 0
    _any: int = 0
    _stays: int = 0
    _stays_in_step: int = 0
    _slashes: int = 0
    _signs: dict[str, int] = field(default_factory=dict)
    _classes: list[tuple[re.Pattern[str], int]] = field(default_factory=list)
    _moves: dict[str, int] = field(default_factory=dict)

    def leaves_out(self, path: str) -> bool:
        """Whether ``path`` (relative, with slashes) stays behind."""
        state, reached = self._close(self._start), 0
        for sign in path:
            if sign == "/":
                reached |= state & self._end_bits
            stays = self._stays if sign == "/" else self._stays | self._stays_in_step
            state = self._close(((state & self._move(sign)) << 1) | (state & stays))
            if not state:
                break
        reached |= state & self._end_bits
        left_out = False
        while reached:
            end = reached & -reached
            reached ^= end
            left_out = not self._ends[end]
        return left_out

    def add(self, tokens: list[str], *, takes_back: bool) -> None:
        """Add a pattern behind those that are there.

        Raises:
            re.error: it is none.
        """
        classes = {token: _compile(token) for token in tokens if _is_class(token)}
        self._start |= 1 << self._size
        for token in tokens:
            bit = 1 << self._size
            self._size += 1
            match token:
                case "**/":
                    # Nothing, or signs up to a slash: they are taken at a bit of their own.
                    self._free |= bit
                    self._free_by_two |= bit
                    self._stays |= bit << 1
                    self._slashes |= bit << 1
                    self._size += 1
                case "**":
                    self._free |= bit
                    self._stays |= bit
                case "*":
                    self._free |= bit
                    self._stays_in_step |= bit
                case "?":
                    self._any |= bit
                case _ if token in classes:
                    self._classes.append((classes[token], bit))
                case _:
                    self._signs[token[-1]] = self._signs.get(token[-1], 0) | bit
        self._ends[1 << self._size] = takes_back
        self._end_bits |= 1 << self._size
        self._size += 1
        self.takes_back |= takes_back
        if self._size > MAX_STEPS or len(self._classes) > MAX_CLASSES:
            raise SourceError(FaultCode.SOURCE_INVALID, ".dockerignore holds too many patterns")

    def _close(self, state: int) -> int:
        """Add what is reached without a sign."""
        while True:
            more = state | ((state & self._free) << 1) | ((state & self._free_by_two) << 2)
            if more == state:
                return state
            state = more

    def _move(self, sign: str) -> int:
        """The bits that this sign moves on."""
        found = self._moves.get(sign)
        if found is None:
            found = self._signs.get(sign, 0)
            if sign == "/":
                found |= self._slashes
            else:
                found |= self._any
                found |= sum(bit for class_, bit in self._classes if class_.fullmatch(sign))
            self._moves[sign] = found
        return found


def parse_ignore(text: str) -> Ignore:
    """Read the file; a line that is no pattern is passed over.

    Raises:
        SourceError: ``source_invalid``, there are too many.
    """
    found = Ignore()
    for line in text.removeprefix("\ufeff").splitlines():
        _add(found, line)
    return found


def _add(ignore: Ignore, line: str) -> None:
    if line.startswith("#"):
        return
    text = line.strip()
    takes_back = text.startswith("!")
    text = text.removeprefix("!").strip() if takes_back else text
    cleaned = posixpath.normpath(text).lstrip("/") if text else ""
    if cleaned in {"", "."}:
        return
    try:
        ignore.add(_tokens(cleaned), takes_back=takes_back)
    except re.error:
        return


def _tokens(pattern: str) -> list[str]:
    """The steps of a pattern; the same star twice is as good as once."""
    found: list[str] = []
    for token in _TOKEN.findall(pattern):
        if not (token in _STARS and found[-1:] == [token]):
            found.append(token)
    return found


def _is_class(token: str) -> bool:
    return len(token) > 1 and token.startswith("[")


def _compile(token: str) -> re.Pattern[str]:
    inside = token[1:-1].replace("[", r"\[")
    return re.compile(f"[{inside}]", re.DOTALL)
