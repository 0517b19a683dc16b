"""Schemas of the OpenAPI document: each model once, under a name of the domain.

A name has three sources. The input of an operation is called after it (`RegistryCreateInput`), a
model inside an input after its class (`PortInput`), and a model of an answer after its class
without `Output` (`Registry`). `NAMES` holds the names that differ from the class's name.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from api.fields.shapes import Change

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]

SCHEMAS = "#/components/schemas/"
NAMES = {
    "Accepted": "AcceptedJob",
    "AttemptOutput": "JobAttempt",
    "CancelOutput": "JobCancellation",
    "CellOutput": "RegistryMatrixCell",
    "Check": "ServerValidationCheck",
    "CheckOutput": "RegistryCheck",
    "ContextOutput": "BuildContext",
    "DeliveryOutput": "WebhookDelivery",
    "Enrolled": "EnrolledServer",
    "ErrorBody": "Error",
    "EventOutput": "JobEvent",
    "Kind": "JobKind",
    "MatrixOutput": "RegistryMatrix",
    "Outcome": "ProbeOutcome",
    "Part": "ServerPathPart",
    "PathCheck": "ServerPathCheck",
    "Reason": "WaitingReason",
    "RestoreOutput": "RestoredDatabase",
    "RestoredHook": "RestoredDeployHook",
    "ResumeOutput": "ResumedJobs",
    "RollbackOutput": "RollbackPoint",
    "Stage": "ProbeStage",
    "StageResult": "ProbeStageResult",
    "State": "JobState",
    "VerificationOutput": "DigestVerification",
}


class NameClashError(ValueError):
    """Two schemas have one name: give one of the models a title, or an entry in `NAMES`."""


class Schemas:
    """The schemas under ``components``, by name."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def add_inputs(self, models: Mapping[str, type[BaseModel]]) -> dict[str, Schema]:
        """Return the whole schema of each input by the key that it is given under.

        The models inside the inputs become components. Add the outputs first: what is the same in
        both is then one component. A partial update has no defaults: generated
        clients would send them, and so reset fields.
        """
        found, definitions = _generate(models, "validation")
        names = {key: self._input_name(key, definitions) for key in definitions}
        schemas = {key: definitions[_key_of(schema)] for key, schema in found.items()}
        inside = _reached(schemas.values(), definitions)
        for key in sorted(inside):
            self._add(names[key], _renamed(definitions[key], names))
        return {
            key: _optional(_renamed(schema, names), keep=not issubclass(models[key], Change))
            for key, schema in schemas.items()
        }

    def add_outputs(self, types: Mapping[str, Any]) -> dict[str, Schema]:
        """Return a schema for each type by its key, with references to the components."""
        found, definitions = _generate(types, "serialization")
        names = {key: _output_name(key, part) for key, part in definitions.items()}
        for key in sorted(definitions):
            self._add(names[key], _renamed(definitions[key], names))
        return {key: _renamed(schema, names) for key, schema in found.items()}

    def add(self, name: str, schema: Schema) -> Schema:
        """Add a component; return the reference to it."""
        self._add(name, schema)
        return {"$ref": f"{SCHEMAS}{name}"}

    def _input_name(self, key: str, definitions: Mapping[str, Schema]) -> str:
        """The name of an answer's schema where it is the same one, else a name of its own."""
        names = {each: _output_name(each, part) for each, part in definitions.items()}
        name, schema = names[key], definitions[key]
        is_shared = self.components.get(name) == _renamed(schema, names)
        return f"{name}Input" if schema.get("type") == "object" and not is_shared else name

    def _add(self, name: str, schema: Schema) -> None:
        if self.components.setdefault(name, schema) != schema:
            raise NameClashError(name)


class _Generator(GenerateJsonSchema):
    """Without a title for each field: it repeats the field's name."""

    def field_title_should_be_set(self, _schema: CoreSchema | Any) -> bool:
        return False


def _generate(types: Mapping[str, Any], mode: Mode) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The schema of each type by its key, and the definitions that they refer to."""
    adapters = [(key, mode, TypeAdapter(kind)) for key, kind in types.items()]
    found, rest = TypeAdapter.json_schemas(
        adapters, ref_template=f"{SCHEMAS}{{model}}", schema_generator=_Generator
    )
    return {key: schema for (key, _), schema in found.items()}, rest.get("$defs", {})


def _output_name(key: str, schema: Schema) -> str:
    title = str(schema.get("title", key))
    return NAMES.get(title, title.removesuffix("Output"))


def _key_of(schema: Schema) -> str:
    return str(schema["$ref"]).removeprefix(SCHEMAS)


def _reached(schemas: Any, definitions: Mapping[str, Schema]) -> set[str]:
    """The definitions that the schemas refer to, themselves or through another one."""
    reached: set[str] = set()
    waiting = [key for schema in schemas for key in _references(schema)]
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting += _references(definitions[key])
    return reached


def _references(schema: Any) -> list[str]:
    match schema:
        case {"$ref": str()}:
            return [_key_of(schema)]
        case dict():
            return [key for part in schema.values() for key in _references(part)]
        case list():
            return [key for part in schema for key in _references(part)]
        case _:
            return []


def _renamed(schema: Schema, names: Mapping[str, str]) -> Schema:
    """The schema with references by the new names, and without its title: the name says it."""
    renamed: Schema = _follow(schema, names)
    if "description" in renamed:
        renamed["description"] = markdown(renamed["description"])
    return {key: part for key, part in renamed.items() if key != "title"}


def markdown(text: str) -> str:
    """A docstring's text as Markdown: code stands between single backticks."""
    return text.replace("``", "`")


def _follow(schema: Any, names: Mapping[str, str]) -> Any:
    match schema:
        case {"$ref": str(), **rest}:
            return {"$ref": f"{SCHEMAS}{names[_key_of(schema)]}", **rest}
        case {"propertyName": str(), "mapping": dict() as mapping}:
            keys = {value: reference.removeprefix(SCHEMAS) for value, reference in mapping.items()}
            renamed = {value: f"{SCHEMAS}{names[key]}" for value, key in keys.items()}
            return {**schema, "mapping": renamed}
        case dict():
            return {key: _follow(part, names) for key, part in schema.items()}
        case list():
            return [_follow(part, names) for part in schema]
        case _:
            return schema


def _optional(schema: Schema, *, keep: bool) -> Schema:
    """The schema without the default null, which says nothing; of the others only if to ``keep``.

    Generators take a field with a default for one that is always there.
    """
    properties = {
        name: {
            key: part
            for key, part in shape.items()
            if key != "default" or (keep and part is not None)
        }
        for name, shape in schema["properties"].items()
    }
    return {**schema, "properties": properties}
