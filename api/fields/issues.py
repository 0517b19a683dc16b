"""Describe invalid input in the format of zod 4, which clients parse and show."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails

from api.errors import Issue

MAX_KEYS = 20
MAX_KEY_CHARACTERS = 60

_EXPECTED = {
    "string_type": "string",
    "string_unicode": "string",
    "int_type": "number",
    "int_parsing": "number",
    "int_from_float": "number",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "list_type": "array",
    "model_type": "object",
    "model_attributes_type": "object",
}
_JSON_TYPES = {"integer": "number"}


class Undefined(Enum):
    """JavaScript's ``undefined``: no value at all."""

    VALUE = "undefined"


def missing_input() -> list[Issue]:
    """Return the issue of a missing input."""
    return [_invalid_type("object", "undefined", [])]


def read_issues(model: type[BaseModel], error: ValidationError) -> list[Issue]:
    """Convert pydantic's errors to zod issues; none holds a value of the input."""
    details = error.errors(include_url=False)
    known = [_issue(model, detail) for detail in details if detail["type"] != "extra_forbidden"]
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    return known + ([_unrecognized(unknown)] if unknown else [])


def require_given(request: BaseModel, *names: str) -> None:
    """Raise the `ValidationError` of a model that lacks one of these fields."""
    missing = [name for name in names if getattr(request, name) is None]
    if missing:
        raise ValidationError.from_exception_data(
            type(request).__name__,
            [InitErrorDetails(type="missing", loc=(name,), input=None) for name in missing],
            hide_input=True,
        )


def show_issues(issues: Iterable[Issue]) -> str:
    """Return the message of a zod error: its issues as indented JSON."""
    return json.dumps(list(issues), indent=2, ensure_ascii=False)


def flatten(issues: Iterable[Issue]) -> dict[str, Any]:
    """Return ``{formErrors, fieldErrors}``: messages by the first part of the path, as zod does."""
    form: list[str] = []
    fields: defaultdict[str, list[str]] = defaultdict(list)
    for issue in issues:
        messages = fields[str(issue["path"][0])] if issue["path"] else form
        messages.append(issue["message"])
    return {"formErrors": form, "fieldErrors": dict(fields)}


def _issue(model: type[BaseModel], detail: ErrorDetails) -> Issue:
    path = _without_tags(model, detail["loc"])
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return _unknown_kind(context, path)
    if kind in {"missing", "literal_error"}:
        return _absent_or_unlisted(model, path, detail)
    if kind in _SIZES:
        return _SIZES[kind](context, path)
    if kind in _EXPECTED:
        return _invalid_type(_EXPECTED[kind], _received(detail["input"]), path)
    if kind == "string_pattern_mismatch":
        return _invalid_format(context["pattern"], path)
    message = str(context["error"]) if kind == "value_error" else "Invalid input"
    return {"code": "custom", "path": path, "message": message}


def _without_tags(model: type[BaseModel], location: tuple[int | str, ...]) -> list[Any]:
    """Return the path in the input: pydantic names in it which member of a union was chosen."""
    path: list[Any] = []
    whole = model.model_json_schema() if len(location) > 2 else {}
    schema: Mapping[str, Any] = whole
    for part in location:
        mapping = schema.get("discriminator", {}).get("mapping", {})
        if part in mapping:
            schema = whole["$defs"][mapping[part].rpartition("/")[2]]
            continue
        path.append(part)
        inside = schema.get("properties", {})
        schema = schema.get("items", {}) if isinstance(part, int) else inside.get(part, {})
        schema = _resolved(whole, schema)
    return path


def _unknown_kind(context: Mapping[str, Any], path: list[Any]) -> Issue:
    """Return the issue of a union's member that does not exist; its name is not repeated."""
    path = [*path, context["discriminator"].strip("'")]
    if "expected_tags" not in context:
        return _invalid_type("string", "undefined", path)
    values = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
    message = "Invalid option: expected one of " + "|".join(f'"{value}"' for value in values)
    return {"code": "invalid_value", "values": values, "path": path, "message": message}


def _absent_or_unlisted(model: type[BaseModel], path: list[Any], detail: ErrorDetails) -> Issue:
    schema = _schema_of(model, path)
    if values := schema.get("enum"):
        listed = "|".join(f'"{value}"' for value in values)
        message = f"Invalid option: expected one of {listed}"
        return {"code": "invalid_value", "values": values, "path": path, "message": message}
    received = "undefined" if detail["type"] == "missing" else _received(detail["input"])
    expected = schema.get("type", "string")
    return _invalid_type(_JSON_TYPES.get(expected, expected), received, path)


def _schema_of(model: type[BaseModel], path: list[Any]) -> Mapping[str, Any]:
    """Return the expected type at a path, including its items and nested parts."""
    whole = model.model_json_schema()
    found: Mapping[str, Any] = whole
    for part in path:
        inside = found.get("properties", {})
        step = found.get("items", {}) if isinstance(part, int) else inside.get(part, {})
        found = _resolved(whole, step)
    return found


def _resolved(whole: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    options = [option for option in schema.get("anyOf", []) if option.get("type") != "null"]
    found: Mapping[str, Any] = options[0] if options else schema
    name = str(found.get("$ref", "")).rpartition("/")[2]
    named: Mapping[str, Any] = whole["$defs"][name] if name else found
    return named


def _invalid_type(expected: str, received: str, path: list[Any]) -> Issue:
    message = f"Invalid input: expected {expected}, received {received}"
    return {"expected": expected, "code": "invalid_type", "path": path, "message": message}


def _invalid_format(pattern: str, path: list[Any]) -> Issue:
    return {
        "origin": "string",
        "code": "invalid_format",
        "format": "regex",
        "pattern": f"/{pattern}/",
        "path": path,
        "message": f"Invalid string: must match pattern /{pattern}/",
    }


def _size(code: str, origin: str, key: str, word: str) -> Callable[[Any, list[Any]], Issue]:
    limit = "minimum" if code == "too_small" else "maximum"
    sign = ">=" if code == "too_small" else "<="
    units = {"string": " characters", "array": " items"}

    def issue(context: Any, path: list[Any]) -> Issue:
        subject = "array" if context.get("field_type") == "List" else origin
        unit = units.get(subject, "")
        message = f"Too {word}: expected {subject} to {'have ' if unit else 'be '}{sign}"
        return {
            "origin": subject,
            "code": code,
            limit: context[key],
            "inclusive": True,
            "path": path,
            "message": f"{message}{context[key]}{unit}",
        }

    return issue


_SIZES = {
    "string_too_short": _size("too_small", "string", "min_length", "small"),
    "too_short": _size("too_small", "string", "min_length", "small"),
    "string_too_long": _size("too_big", "string", "max_length", "big"),
    "too_long": _size("too_big", "string", "max_length", "big"),
    "greater_than_equal": _size("too_small", "number", "ge", "small"),
    "less_than_equal": _size("too_big", "number", "le", "big"),
}


def _unrecognized(paths: list[tuple[int | str, ...]]) -> Issue:
    keys = [_printable(str(path[-1])) for path in paths[:MAX_KEYS]]
    word = "keys" if len(keys) > 1 else "key"
    listed = ", ".join(f'"{key}"' for key in keys)
    message = f"Unrecognized {word}: {listed}"
    return {"code": "unrecognized_keys", "keys": keys, "path": [], "message": message}


def _printable(key: str) -> str:
    return key[:MAX_KEY_CHARACTERS].encode(errors="replace").decode()


def _received(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"
