"""The module of models: the answers, and the parts of inputs."""

from graphlib import TopologicalSorter
from typing import Any

from pydantic.alias_generators import to_camel

from tests.api.client.generator.annotations import Schema, annotate, references, snake
from tests.api.client.generator.operations import Operation
from tests.api.client.generator.text import docstring

HEAD = '''"""The answers of the API, and the parts of its inputs.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from wharfinger.calls import OPEN, Model
'''
SECRETS = {"key", "secret", "joinToken"}
SECRET_OF = {("CreatedDeployHook", "url")}
"""Fields of answers that hold a secret: the representation leaves them out."""


def write_models(schemas: dict[str, Schema], operations: list[Operation]) -> str:
    """Return the module."""
    needed = _reach(schemas, operations)
    graph = {name: sorted(references(schemas[name]) & needed) for name in sorted(needed)}
    ordered = TopologicalSorter(graph).static_order()
    return "\n".join([HEAD, *(_write(name, schemas[name]) for name in ordered)])


def _reach(schemas: dict[str, Schema], operations: list[Operation]) -> set[str]:
    waiting = {
        name
        for each in operations
        for name in references([each.fields, each.answer, each.accepted])
    }
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name != "JsonValue" and name not in reached:
            reached.add(name)
            waiting |= references(schemas[name])
    return reached


def _write(name: str, schema: Schema) -> str:
    text = schema.get("description", "")
    if schema.get("type") != "object":
        alias = f"{name} = {annotate(schema, is_open=True)}\n"
        return alias + (docstring(text, indent="") if text else "")
    fields = [
        _field(name, field, shape, is_required=field in schema.get("required", ()))
        for field, shape in schema["properties"].items()
    ]
    lines = [f"class {name}(Model):", docstring(text) if text else "", *fields]
    return "\n".join(lines if text or fields else [*lines, "    pass"]) + "\n"


def _field(model: str, name: str, schema: Schema, *, is_required: bool) -> str:
    kind, arguments = annotate(schema, is_open=True), dict[str, str]()
    if not is_required:
        default: Any = schema.get("default", [] if schema.get("type") == "array" else None)
        if isinstance(default, list | dict):
            assert not default, f"{model}.{name} has a default that is not empty"
            arguments["default_factory"] = type(default).__name__
        else:
            arguments["default"] = repr(default)
            if default is None and "None" not in kind.split(" | "):
                kind = f"{kind} | None"
    if to_camel(snake(name)) != name:
        arguments |= {"validation_alias": repr(name), "serialization_alias": repr(name)}
    if _is_secret(model, name, schema):
        arguments["repr"] = "False"
    if not arguments:
        return f"    {snake(name)}: {kind}"
    if set(arguments) == {"default"}:
        return f"    {snake(name)}: {kind} = {arguments['default']}"
    written = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"    {snake(name)}: {kind} = Field({written})"


def _is_secret(model: str, name: str, schema: Schema) -> bool:
    parts = [schema, *schema.get("anyOf", ())]
    is_marked = any(part.get("writeOnly") for part in parts)
    return is_marked or name in SECRETS or (model, name) in SECRET_OF
