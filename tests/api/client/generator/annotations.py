"""Schemas of the OpenAPI document as annotations of Python."""

import json
import re
from typing import Any

Schema = dict[str, Any]

PLAIN = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake(name: str) -> str:
    """``customGitSSHPublicKey`` → ``custom_git_ssh_public_key``."""
    return WORDS.sub("_", name).lower()


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def annotate(schema: Schema, *, prefix: str = "", is_open: bool = False) -> str:
    """Return the annotation; ``is_open`` accepts values that a newer API may have added."""

    def within(part: Schema) -> str:
        return annotate(part, prefix=prefix, is_open=is_open)

    match schema:
        case {"$ref": reference}:
            name = name_of(reference)
            text = name if name == "JsonValue" else prefix + name
        case {"anyOf": parts} | {"oneOf": parts}:
            text = " | ".join(dict.fromkeys(within(part) for part in parts))
        case {"enum": values}:
            text = f"Literal[{', '.join(json.dumps(value) for value in values)}]"
            text = f"Annotated[{text}, OPEN]" if is_open else text
        case {"const": value}:
            text = f"Literal[{json.dumps(value)}]"
        case {"type": "array", "items": items}:
            text = f"list[{within(items)}]"
        case {"type": "object", "additionalProperties": dict() as values}:
            text = f"dict[str, {within(values)}]"
        case {"type": "string", "format": "date-time"}:
            text = "datetime"
        case _:
            text = PLAIN[schema["type"]]
    return text


def references(schema: Any) -> set[str]:
    """Return the names of the schemas that a schema refers to."""
    match schema:
        case {"$ref": str() as reference}:
            return {name_of(reference)}
        case dict():
            return {name for part in schema.values() for name in references(part)}
        case list():
            return {name for part in schema for name in references(part)}
    return set()
