r"""Variables as people keep them: dotenv lines, ``NAME=VALUE``.

A value is bare, up to the end of the line or a ``#`` behind a blank; in ``'single quotes'`` as it
stands; or in ``"double quotes"`` with ``\n \r \t \" \\ \$``. Quoted ones may go over several
lines. ``export`` in front, blank lines and lines of comment mean nothing.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

MAX_CHARACTERS = 64 * 1024

_NAME = r"[A-Za-z_][A-Za-z0-9_.-]{0,199}"
_ENTRY = re.compile(
    rf"""
    [ \t]*
    (?:
      (?:export[ \t]+)?(?P<name>{_NAME})[ \t]*=
      (?:
        [ \t]*"(?P<double>(?:[^"\\]|\\.)*)"[ \t]*(?:\#[^\n]*)?
      | [ \t]*'(?P<single>[^']*)'[ \t]*(?:\#[^\n]*)?
      | (?![ \t]*["'])(?P<bare>[^\n]*)
      )
    | (?:\#[^\n]*)?
    )
    (?:\n|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"[ \t]#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")


def parse_variables(text: str) -> dict[str, str]:
    """The variables by name, in their order.

    Raises:
        ValueError: a line is not of this form, or a name comes twice. It says which line, and
            nothing of what stands there, as that may be a secret.
    """
    text = re.sub(r"\r\n?", "\n", text)
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        entry = _ENTRY.match(text, position)
        if entry is None:
            raise _invalid(text, position, "is not NAME=VALUE")
        if entry["name"] in found:
            raise _invalid(text, position, "gives a name for the second time")
        if name := entry["name"]:
            found[name] = _value(entry)
        position = entry.end()
    return found


def show_variables(variables: dict[str, str]) -> str:
    """The lines that `parse_variables` reads as these, sorted by name."""
    return "\n".join(f"{name}={_quoted(variables[name])}" for name in sorted(variables))


def _invalid(text: str, position: int, why: str) -> ValueError:
    line = text.count("\n", 0, position) + 1
    return ValueError(f"Invalid variables: line {line} {why}")


def _value(entry: re.Match[str]) -> str:
    if entry["double"] is not None:
        return re.sub(r"\\(.)", _unescaped, entry["double"], flags=re.DOTALL)
    if entry["single"] is not None:
        return entry["single"]
    return _COMMENT.sub("", entry["bare"]).strip(" \t")


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[0])


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'


def _require_variables(text: str) -> str:
    parse_variables(text)
    return text


def _require_secret_variables(text: SecretStr) -> SecretStr:
    parse_variables(text.get_secret_value())
    return text


Variables = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_require_variables)]
SecretVariables = Annotated[
    SecretStr, Field(max_length=MAX_CHARACTERS), AfterValidator(_require_secret_variables)
]
