r"""``.dockerignore``: match the excluded files of a context like Docker.

Patterns are Go's ``filepath.Match`` with ``**``. A pattern that matches a directory excludes all
its content, one with ``!`` includes it again, and the last match decides
(docs.docker.com/build/concepts/context, "Pattern matching").

All patterns are matched at once, character by character. So the time for a path does not depend on
the number of ways to match it, as it does with Python's regular expressions.
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

    Each step of each pattern is a bit, and the last bit of a pattern is its end. A state is the set
    of reached bits. A character moves a bit to the next one, or lets it stay; ``*`` can be passed
    without a character.
    """

    includes_again: bool = False
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
    _characters: dict[str, int] = field(default_factory=dict)
    _classes: list[tuple[re.Pattern[str], int]] = field(default_factory=list)
    _moves: dict[str, int] = field(default_factory=dict)

    def excludes(self, path: str) -> bool:
        """Return whether ``path`` (relative, with slashes) is excluded."""
        state, reached = self._close(self._start), 0
        for character in path:
            if character == "/":
                reached |= state & self._end_bits
            stays = self._stays if character == "/" else self._stays | self._stays_in_step
            state = self._close(((state & self._move(character)) << 1) | (state & stays))
            if not state:
                break
        reached |= state & self._end_bits
        left_out = False
        while reached:
            end = reached & -reached
            reached ^= end
            left_out = not self._ends[end]
        return left_out

    def add(self, tokens: list[str], *, includes_again: bool) -> None:
        """Add a pattern after the existing ones.

        Raises:
            re.error: it is not a valid pattern.
        """
        classes = {token: _compile(token) for token in tokens if _is_class(token)}
        self._start |= 1 << self._size
        for token in tokens:
            bit = 1 << self._size
            self._size += 1
            match token:
                case "**/":
                    # Nothing, or characters up to a slash, which have a separate bit.
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
                    self._characters[token[-1]] = self._characters.get(token[-1], 0) | bit
        self._ends[1 << self._size] = includes_again
        self._end_bits |= 1 << self._size
        self._size += 1
        self.includes_again |= includes_again
        if self._size > MAX_STEPS or len(self._classes) > MAX_CLASSES:
            raise SourceError(
                FaultCode.SOURCE_INVALID,
                ".dockerignore holds too many patterns",
                remedy="Remove patterns from .dockerignore, or join them.",
            )

    def _close(self, state: int) -> int:
        """Add the bits that are reached without a character."""
        while True:
            more = state | ((state & self._free) << 1) | ((state & self._free_by_two) << 2)
            if more == state:
                return state
            state = more

    def _move(self, character: str) -> int:
        """Return the bits that this character moves on."""
        found = self._moves.get(character)
        if found is None:
            found = self._characters.get(character, 0)
            if character == "/":
                found |= self._slashes
            else:
                found |= self._any
                found |= sum(bit for class_, bit in self._classes if class_.fullmatch(character))
            self._moves[character] = found
        return found


def parse_ignore(text: str) -> Ignore:
    """Read the file; an invalid pattern is skipped.

    Raises:
        SourceError: ``source_invalid``, there are too many patterns.
    """
    found = Ignore()
    for line in text.removeprefix("\ufeff").splitlines():
        _add(found, line)
    return found


def _add(ignore: Ignore, line: str) -> None:
    if line.startswith("#"):
        return
    text = line.strip()
    includes_again = text.startswith("!")
    text = text.removeprefix("!").strip() if includes_again else text
    cleaned = posixpath.normpath(text).lstrip("/") if text else ""
    if cleaned in {"", "."}:
        return
    try:
        ignore.add(_tokens(cleaned), includes_again=includes_again)
    except re.error:
        return


def _tokens(pattern: str) -> list[str]:
    """Return the steps of a pattern; repeated equal stars count once."""
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
