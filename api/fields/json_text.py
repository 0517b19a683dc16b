"""Parse JSON strictly: UTF-8, unique names, finite numbers, limited nesting."""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from api.errors import UnreadableInputError

MAX_DEPTH = 64
SHOWN_CHARACTERS = 60


def parse_json(text: bytes | str) -> object:
    """Return the value of a JSON text (RFC 8259).

    Raises:
        UnreadableInputError: not UTF-8, not JSON, ``NaN``, an infinite number, an object with two
            members of one name, or nested too deep.
    """
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
        value: object = json.loads(
            decoded,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_members,
        )
        _require_shallow(value)
    except UnreadableInputError:
        raise
    except UnicodeDecodeError:
        raise UnreadableInputError("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise UnreadableInputError(
            f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:
        raise UnreadableInputError("not JSON: a number is not finite, or too long") from None
    return value


def read_object(value: object) -> object:
    """Return an object that is given as JSON text, as Dokploy's command line sends it."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value)
    except UnreadableInputError:
        return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate names: parsers differ in which one counts (RFC 8259, section 4)."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise UnreadableInputError(f'an object has the key "{_printable(name)}" twice')
        members[name] = value
    return members


def _printable(name: str) -> str:
    return name[:SHOWN_CHARACTERS].encode("unicode_escape").decode()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _require_shallow(value: object) -> None:
    level, depth = [value], 0
    while containers := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        level = [part for each in containers for part in _parts(each)]


def _parts(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _too_deep() -> UnreadableInputError:
    return UnreadableInputError(f"the JSON is nested more than {MAX_DEPTH} levels deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
