"""``.dockerignore``: which files of a context are left out, as Docker reads it.

Patterns are Go's ``filepath.Match`` with ``**``; a pattern that matches a directory leaves out all
that is in it, one with ``!`` takes back in, and the last that matches decides
(docs.docker.com/build/concepts/context, "Pattern matching").
"""

import posixpath
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """``takes_back`` is the ``!``."""

    expression: re.Pattern[str]
    takes_back: bool


@dataclass(frozen=True)
class Ignore:
    """The patterns of one file."""

    patterns: tuple[Pattern, ...] = ()

    @property
    def takes_back(self) -> bool:
        """Whether something inside a directory that is left out may be wanted after all."""
        return any(pattern.takes_back for pattern in self.patterns)

    def leaves_out(self, path: str) -> bool:
        """Whether ``path`` (relative, with slashes) stays behind."""
        steps = path.split("/")
        places = ["/".join(steps[: index + 1]) for index in range(len(steps))]
        left_out = False
        for pattern in self.patterns:
            if pattern.takes_back is left_out and any(
                pattern.expression.fullmatch(place) for place in places
            ):
                left_out = not pattern.takes_back
        return left_out


def parse_ignore(text: str) -> Ignore:
    """Read the file; a line that is no pattern is passed over."""
    found = (_pattern(line) for line in text.removeprefix("\ufeff").splitlines())
    return Ignore(tuple(pattern for pattern in found if pattern is not None))


def _pattern(line: str) -> Pattern | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    takes_back = text.startswith("!")
    text = text.removeprefix("!").strip() if takes_back else text
    if not text:
        return None
    cleaned = posixpath.normpath(text).lstrip("/")
    if cleaned in {"", "."}:
        return None
    try:
        return Pattern(re.compile(_expression(cleaned), re.DOTALL), takes_back)
    except re.error:
        return None


_TOKEN = re.compile(r"\*\*/?|\*|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|.", re.DOTALL)


def _expression(pattern: str) -> str:
    return "".join(_translate(token) for token in _TOKEN.findall(pattern))


def _translate(token: str) -> str:
    match token:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if len(token) > 1 and token.startswith("["):
        inside = token[1:-1].replace("[", r"\[")
        return f"(?!/)[{inside}]"
    return re.escape(token[-1])
