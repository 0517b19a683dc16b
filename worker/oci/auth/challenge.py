"""The challenges of a ``WWW-Authenticate`` header (RFC 9110, sections 5.6 and 11.6.1)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's term for such a string
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|({_QUOTED}))", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_GAP = re.compile(r"[ \t,]*")
_SPACE = re.compile(r"[ \t]*")


@dataclass(frozen=True)
class Challenge:
    """One authentication scheme that a server accepts.

    ``scheme`` and the names of parameters are in lower case.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all ``WWW-Authenticate`` values of one response, in order.

    ``Bearer realm="https://auth.example/token",service="r"`` → ``Challenge("bearer", {"realm":
    "https://auth.example/token", "service": "r"})``. Reading of a value ends where the grammar is
    violated: a malformed value is never an error. If a parameter is named twice, the first one
    counts.
    """
    return tuple(challenge for value in values for challenge in _parse_value(value))


def _parse_value(value: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = _skip(value, 0)
    while scheme := _SCHEME.match(value, position):
        parameters: dict[str, str] = {}
        position = _read_parameters(value, scheme.end(), parameters)
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def _read_parameters(value: str, position: int, into: dict[str, str]) -> int:
    """Read the parameters of one scheme and return the position of the next scheme."""
    if credentials := _TOKEN68.match(value, position):
        return _skip(value, credentials.end())
    while parameter := _PARAMETER.match(value, _skip(value, position)):
        name, plain, quoted = parameter.groups()
        into.setdefault(name.lower(), _unquote(quoted) if plain is None else plain)
        position = parameter.end()
        if not value.startswith(",", _space(value, position)):
            return len(value)  # a parameter ends with a comma or with the header
    return _skip(value, position)


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)


def _skip(value: str, position: int) -> int:
    gap = _GAP.match(value, position)
    return gap.end() if gap else position


def _space(value: str, position: int) -> int:
    space = _SPACE.match(value, position)
    return space.end() if space else position
