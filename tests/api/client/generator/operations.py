"""The operations of the OpenAPI document, as the client needs them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.api.client.generator.annotations import Schema, name_of


@dataclass(frozen=True)
class Operation:
    """One procedure; ``fields`` are the schemas of its input by their names.

    ``heeds_prefer``: it may be told not to wait. ``accepted`` is then its answer, if another.
    """

    name: str
    method: str
    text: str
    fields: dict[str, Schema]
    required: frozenset[str]
    answer: Schema
    takes_key: bool
    heeds_prefer: bool
    accepted: Schema | None

    @property
    def noun(self) -> str:
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(".")[2]


def read_operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Return the operations, in the order of the document."""
    for path, methods in document["paths"].items():
        [(method, shown)] = methods.items()
        fields, required = _input(document, shown)
        headers = {name_of(each.get("$ref", "")) for each in shown["parameters"]}
        [content] = shown["responses"]["200"]["content"].values()
        yield Operation(
            name=path.removeprefix("/api/"),
            method=method.upper(),
            text=f"{shown['summary']}.\n\n{shown['description']}",
            fields=fields,
            required=frozenset(required),
            answer=content["schema"],
            takes_key="IdempotencyKey" in headers,
            heeds_prefer="Prefer" in headers,
            accepted=_accepted(document) if "202" in shown["responses"] else None,
        )


def _accepted(document: dict[str, Any]) -> Schema:
    content = document["components"]["responses"]["Accepted"]["content"]
    schema: Schema = content["application/json"]["schema"]
    return schema


def _input(document: dict[str, Any], shown: dict[str, Any]) -> tuple[dict[str, Schema], list[str]]:
    body = shown.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None:
        given = [each for each in shown["parameters"] if each.get("in") == "query"]
        fields = {
            each["name"]: each["schema"] | {"description": each["description"]} for each in given
        }
        return fields, [each["name"] for each in given if each["required"]]
    schema = document["components"]["schemas"][name_of(body["schema"]["$ref"])]
    return schema["properties"], schema.get("required", [])
