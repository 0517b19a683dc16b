"""Read JSON as it is meant: UTF-8, each name once, finite numbers, not nested too deep."""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from api.errors import UnreadableInputError

MAX_DEPTH = 64
SHOWN_CHARACTERS = 60


def parse_json(text: bytes | str) -> object:
    """The value that a JSON text (RFC 8259) stands for.

    Raises:
        UnreadableInputError: not UTF-8, not JSON, ``NaN``, a number without bounds, an object with
            two members of one name, or nested too deep.
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
        raise UnreadableInputError("not JSON that can be read here") from None
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's members: of two with one name, readers take one or the other (RFC 8259, 4)."""
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise UnreadableInputError(f'"{_printable(name)}" stands twice in one object')
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
    return UnreadableInputError(f"JSON is nested {MAX_DEPTH} deep at most")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
