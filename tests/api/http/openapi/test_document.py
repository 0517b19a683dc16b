"""The OpenAPI document: its names, its operations, its errors and its examples."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, ConfigDict, TypeAdapter

from api.builds.context_upload import UPLOAD
from api.http.openapi.codes import CONDITIONS, ENDINGS, REFUSALS, list_codes
from api.http.openapi.document import ANSWERS_EARLY, OVERVIEW, PARAMETERS, TAGS, make_document
from api.http.openapi.examples import EXAMPLES
from api.http.openapi.properties import PROPERTIES, SPECIAL
from api.http.openapi.schemas import NAMES, NameClashError, Schemas
from api.procedure.procedure import Flat, Procedure
from api.routers import PROCEDURES
from shared.faults import FAULTS

ROOT = Path(__file__).parents[4]
DOCUMENTED: dict[str, Procedure[Any, Any]] = {**PROCEDURES, UPLOAD.name: UPLOAD}
PASCAL = re.compile("([A-Z][a-z]+)+")
CAMEL = re.compile("[a-z]+([A-Z][a-z]*)+")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return make_document(PROCEDURES.values())


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The operations by the names of their procedures."""
    return {
        path.removeprefix("/api/"): operation
        for path, item in document["paths"].items()
        for operation in item.values()
    }


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    found = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]

    assert found == []


def test_the_document_is_the_same_each_time(document: dict[str, Any]) -> None:
    assert json.dumps(make_document(PROCEDURES.values())) == json.dumps(document)


def test_every_schema_has_a_name_of_the_domain(document: dict[str, Any]) -> None:
    names = document["components"]["schemas"]

    assert [name for name in names if not PASCAL.fullmatch(name)] == []
    assert [name for name in names if name.endswith("Output")] == []


def test_every_value_of_a_discriminator_names_a_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(schemas)
    mappings = [json.loads(found) for found in re.findall(r'"mapping": (\{[^}]*\})', text)]
    named = {reference.rpartition("/")[2] for mapping in mappings for reference in mapping.values()}

    assert named == {"AcrSourceInput", "EcrSourceInput", "GoogleSourceInput"}
    assert named <= schemas.keys()


def test_every_property_is_described(document: dict[str, Any]) -> None:
    properties = [
        (name, each, shape)
        for name, schema in document["components"]["schemas"].items()
        for each, shape in schema.get("properties", {}).items()
    ]

    # A reference is described by its schema.
    assert [shape for *_, shape in properties if not {"description", "$ref"} & set(shape)] == []
    assert set(PROPERTIES) == {each for _, each, _ in properties}
    assert set(SPECIAL) <= {(name, each) for name, each, _ in properties}


def test_every_chosen_name_is_used(document: dict[str, Any]) -> None:
    assert set(NAMES.values()) - set(document["components"]["schemas"]) == set()


def test_two_models_of_one_name_are_refused() -> None:
    class Thing(BaseModel):
        size: int

    class Other(BaseModel):
        model_config = ConfigDict(title="Thing")

        name: str

    with pytest.raises(NameClashError, match="Thing"):
        Schemas().add_outputs({"one": Thing, "other": Other})


def test_an_input_that_differs_from_the_answer_has_a_name_of_its_own() -> None:
    class Piece(BaseModel):
        size: int

    class Whole(BaseModel):
        part: Piece

    class Answer(BaseModel):
        model_config = ConfigDict(title="Piece")

        name: str

    schemas = Schemas()
    schemas.add_outputs({"answer": Answer})
    found = schemas.add_inputs({"whole": Whole})

    assert found["whole"]["properties"]["part"] == {"$ref": "#/components/schemas/PieceInput"}


def test_every_operation_reads_as_a_method_of_its_noun(document: dict[str, Any]) -> None:
    found = operations(document)

    ids = [operation["operationId"] for operation in found.values()]
    assert len(set(ids)) == len(ids)
    assert [each for each in ids if not CAMEL.fullmatch(each)] == []
    assert found["registry.testRegistry"]["operationId"] == "registryTestRegistry"
    assert {tag for each in found.values() for tag in each["tags"]} == set(TAGS)
    assert all(each["summary"] and each["description"] for each in found.values())
    assert not [name for name, each in found.items() if "Raises:" in each["description"]]


def test_every_summary_begins_with_a_verb(document: dict[str, Any]) -> None:
    summaries = [each["summary"] for each in operations(document).values()]

    no_verb = "A|All|An|How|It|One|Our|That|The|Those|What|Whether|Who"
    assert [each for each in summaries if re.match(rf"({no_verb})\b", each)] == []


def test_every_operation_names_its_security_and_its_role(document: dict[str, Any]) -> None:
    for name, operation in operations(document).items():
        role = DOCUMENTED[name].role if name in DOCUMENTED else "viewer"
        assert operation["security"] == ([{"apiKey": []}] if role else [])
        assert operation.get("x-required-role") == role


def test_a_body_is_required_where_a_field_is(document: dict[str, Any]) -> None:
    bodies = {
        name: operation["requestBody"]["required"]
        for name, operation in operations(document).items()
        if "requestBody" in operation and name in PROCEDURES
    }

    assert bodies == {
        name: any(field.is_required() for field in PROCEDURES[name].input.model_fields.values())
        for name in bodies
    }
    assert not bodies["registry.testOnServers"]


def test_every_error_response_has_the_one_schema_and_an_example(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]

    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if status < "400":
                continue
            shared = responses[response["$ref"].rpartition("/")[2]]
            content = shared["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}
            for shown in content["examples"].values():
                assert shown["value"]["data"]["httpStatus"] == int(status)


def test_an_operation_that_waits_can_answer_202(document: dict[str, Any]) -> None:
    found = operations(document)

    accepting = {name for name, each in found.items() if "202" in each["responses"]}
    repeatable = {
        name
        for name, each in found.items()
        if {"$ref": "#/components/parameters/IdempotencyKey"} in each["parameters"]
    }
    early = {
        name
        for name, each in found.items()
        if {"$ref": "#/components/parameters/Prefer"} in each["parameters"]
    }
    assert accepting == {name for name, each in PROCEDURES.items() if each.waits}
    assert early == accepting | ANSWERS_EARLY
    assert repeatable == {name for name, each in PROCEDURES.items() if each.submits}


def test_the_error_schema_lists_every_code_with_a_remedy(document: dict[str, Any]) -> None:
    described = document["components"]["schemas"]["Error"]["description"]

    codes = list_codes()
    assert {fault.value for fault in FAULTS} <= {each.code for each in codes}
    assert [each.code for each in codes if not each.remedy or not each.statuses] == []
    assert [each.code for each in codes if f"| `{each.code}` |" not in described] == []
    assert {*REFUSALS, *CONDITIONS, *ENDINGS} <= {each.code for each in codes}


def test_every_unmet_condition_is_among_the_codes() -> None:
    raised = {
        argument.value
        for folder in ("api", "shared")
        for path in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "UnmetConditionError"
        for argument in call.args[:1]
        if isinstance(argument, ast.Constant)
    }

    assert raised == set(CONDITIONS)


def test_every_code_that_a_job_can_end_with_is_among_the_codes() -> None:
    written = {
        code
        for folder in ("shared", "worker")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".sql"} and "versions" not in path.parts
        for code in re.findall(r"""'code', '(\w+)'|\bcode="(\w+)\"""", path.read_text())
    }

    found = {code for pair in written for code in pair if code}
    assert {"worker_lost", "cancelled"} <= found <= {each.code for each in list_codes()}


def test_every_parameter_has_a_description_that_is_used(document: dict[str, Any]) -> None:
    named = {
        parameter["name"]: parameter["description"]
        for operation in operations(document).values()
        for parameter in operation["parameters"]
        if parameter.get("in") == "query"
    }

    assert named == PARAMETERS


def test_every_operation_has_an_example() -> None:
    assert set(EXAMPLES) == set(DOCUMENTED)


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_an_example_is_a_valid_request_and_a_whole_answer(name: str) -> None:
    procedure, example = DOCUMENTED[name], EXAMPLES[name]

    if procedure.method == "GET":
        procedure.parse(Flat({key: str(value) for key, value in example.request.items()}))
    else:
        procedure.parse(dict(example.request))
    adapter = TypeAdapter(procedure.output)
    answer = adapter.validate_json(json.dumps(example.answer))
    assert json.loads(adapter.dump_json(answer, by_alias=True)) == example.answer


def test_the_overview_names_only_operations_that_exist(document: dict[str, Any]) -> None:
    found = operations(document)

    named = re.findall(r"`([a-z]+\.[a-zA-Z]+)`", OVERVIEW)
    assert named
    assert set(named) <= set(found)
