"""Fill in a compose file's variables from given values and their defaults, never from ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.errors import InvalidComposeError

_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(":?[-+?]")


@dataclass
class Variables:
    """The values of a file's variables.

    ``used`` are those that were looked up. ``defaulted`` had no value, so their default was taken.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    defaulted: set[str] = field(default_factory=set)

    def fill(self, text: str, *, is_strict: bool = True) -> str:
        """Replace variables, also nested: ``app:${TAG:-1.4}`` → ``app:1.4``.

        Without ``is_strict`` an unset variable is empty, as in compose itself.
        https://docs.docker.com/reference/compose-file/interpolation/

        Raises:
            InvalidComposeError: a variable without a value and a default; it names the variable.
        """
        found, at = list[str](), 0
        while (start := text.find("$", at)) >= 0:
            found.append(text[at:start])
            value, at = self._variable(text, start, is_strict=is_strict)
            found.append(value)
        return "".join([*found, text[at:]])

    def _variable(self, text: str, start: int, *, is_strict: bool) -> tuple[str, int]:
        """Return the value of the variable at ``start``, and where it ends."""
        is_braced = text.startswith("${", start)
        name = _NAME.match(text, start + 1 + is_braced)
        end = name.end() if name else -1
        operator = _OPERATOR.match(text, end) if name and is_braced else None
        if operator:
            end = _closing_brace(text, operator.end())
        if name is None or (is_braced and text[end : end + 1] != "}"):
            if is_strict:
                raise InvalidComposeError(
                    "a $ does not begin a variable",
                    remedy="Write the variable as ${NAME}, or leave the $ out.",
                )
            return "$", start + 1
        word = text[operator.end() : end] if operator else ""
        kind = operator[0] if operator else ""
        return self._value(name[0], kind, word, is_strict=is_strict), end + is_braced

    def _value(self, name: str, kind: str, word: str, *, is_strict: bool) -> str:
        self.used.add(name)
        value = self.values.get(name)
        is_there = bool(value) if kind.startswith(":") else value is not None
        match kind[-1:]:
            case "-" if not is_there:
                self.defaulted |= {name} if value is None else set()
                return self.fill(word, is_strict=is_strict)
            case "+":
                return self.fill(word, is_strict=is_strict) if is_there else ""
            case _ if is_there or (value is None and not is_strict):
                return value or ""
            case _:
                raise InvalidComposeError(
                    f"the variable {name} has no value and no default", remedy=_REMEDY
                )


_REMEDY = "Add a default, as in ${TAG:-1.4}, or give the file's variables with envFile."


def _closing_brace(text: str, at: int) -> int:
    depth = 0
    for index in range(at, len(text)):
        if text[index] == "}" and depth == 0:
            return index
        depth += text.startswith("${", index) - (text[index] == "}")
    return -1
