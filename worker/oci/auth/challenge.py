"""The challenges of a ``WWW-Authenticate`` header (RFC 9110, sections 5.6 and 11.6.1)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for a run of such signs
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*(?:({_TOKEN})|({_QUOTED}))", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_GAP = re.compile(r"[ \t,]*")
_SPACE = re.compile(r"[ \t]*")


@dataclass(frozen=True)
class Challenge:
    """One scheme that a server accepts; ``scheme`` and the names of parameters in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Every challenge in the values of all ``WWW-Authenticate`` headers of one answer, in order.

    ``Bearer realm="https://auth.example/token",service="r"`` → ``Challenge("bearer", {"realm":
    "https://auth.example/token", "service": "r"})``. What is not the grammar ends the reading of
    that value: a server's nonsense is no challenge, and never an error. Of a parameter that is
    named twice the first counts.
    """
    return tuple(challenge for value in values for challenge in _parse_value(value))


def _parse_value(value: str) -> list[Challenge]:
    found: list[Challenge] = []
    place = _skip(value, 0)
    while scheme := _SCHEME.match(value, place):
        parameters: dict[str, str] = {}
        place = _read_parameters(value, scheme.end(), parameters)
        found.append(Challenge(scheme[1].lower(), parameters))
    return found


def _read_parameters(value: str, place: int, into: dict[str, str]) -> int:
    """Where the next scheme may begin."""
    if credentials := _TOKEN68.match(value, place):
        return _skip(value, credentials.end())
    while parameter := _PARAMETER.match(value, _skip(value, place)):
        name, plain, quoted = parameter.groups()
        into.setdefault(name.lower(), _unquote(quoted) if plain is None else plain)
        place = parameter.end()
        if not value.startswith(",", _space(value, place)):
            return len(value)  # a parameter ends with a comma or with the header
    return _skip(value, place)


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)


def _skip(value: str, place: int) -> int:
    gap = _GAP.match(value, place)
    return gap.end() if gap else place


def _space(value: str, place: int) -> int:
    space = _SPACE.match(value, place)
    return space.end() if space else place
