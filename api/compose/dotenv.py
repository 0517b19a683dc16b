"""The variables of a ``.env`` file, read as compose reads it."""

import re

from shared.compose.variables import Variables

_KEY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.-]*)[ \t]*[=:][ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


def parse_dotenv(text: str) -> dict[str, str]:
    """Return the variables of the file; lines without a value are left out.

    A value may use the variables before it, unless it is in single quotes.
    https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/
    """
    found: dict[str, str] = {}
    at, text = 0, text.removeprefix("\ufeff").replace("\r\n", "\n")
    while at < len(text):
        end = _line_end(text, at)
        if key := _KEY.match(text, at, end):
            found[key[1]], at = _value(text, key.end(), found)
        at = _line_end(text, at) + 1
    return found


def _value(text: str, at: int, known: dict[str, str]) -> tuple[str, int]:
    """Return the value that begins at ``at``, and the end of its quotes or its line."""
    if single := _SINGLE.match(text, at):
        return single[1], single.end()
    variables = Variables(known)
    if double := _DOUBLE.match(text, at):
        filled = variables.fill(double[1], is_strict=False)
        return _ESCAPED.sub(lambda match: _CONTROLS.get(match[1], match[1]), filled), double.end()
    end = _line_end(text, at)
    plain = re.split(r"(?:^|[ \t])#", text[at:end], maxsplit=1)[0].strip()
    return variables.fill(plain, is_strict=False), end


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end
