"""The client knows every procedure and every field of the API."""

import inspect
from functools import cache
from pathlib import Path

import pytest

from api.events.wire import EventOutput, SnapshotOutput
from api.http.openapi.document import ANSWERS_EARLY, make_document
from api.routers import PROCEDURES
from tests.api.client.generator.annotations import snake
from tests.api.client.generator.modules import MODULES, make_modules
from tests.api.client.generator.operations import Operation, read_operations
from tests.api.client.generator.procedures import FLOWS, method_name
from wharfinger import Event
from wharfinger.asynchronous import AsyncProcedures
from wharfinger.synchronous import Procedures

INSTEAD = {flow.instead_of: flow.verb for flow in FLOWS}

made = cache(make_modules)


@cache
def operations() -> list[Operation]:
    return list(read_operations(make_document(PROCEDURES.values())))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_what_the_document_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == made()[path], "run make docs"


@pytest.mark.parametrize("kind", [Procedures, AsyncProcedures])
def test_each_procedure_is_a_method_with_all_its_fields(
    kind: type[Procedures] | type[AsyncProcedures],
) -> None:
    procedures = kind(None)  # type: ignore[arg-type]
    missing = []
    for operation in operations():
        name = INSTEAD.get(operation.name) or method_name(operation)
        method = getattr(getattr(procedures, snake(operation.noun)), name)
        known = set(inspect.signature(method).parameters)
        if operation.name not in INSTEAD:
            missing += [
                (operation.name, field) for field in operation.fields if snake(field) not in known
            ]

    assert missing == []
    assert {each.name for each in operations()} >= set(PROCEDURES)


def test_each_procedure_that_waits_can_be_told_not_to() -> None:
    procedures = Procedures(None)  # type: ignore[arg-type]

    told = {
        operation.name
        for operation in operations()
        if operation.name not in INSTEAD
        and "respond_async"
        in inspect.signature(
            getattr(getattr(procedures, snake(operation.noun)), method_name(operation))
        ).parameters
    }

    assert told == {each.name for each in PROCEDURES.values() if each.waits} | ANSWERS_EARLY


def test_both_clients_have_the_same_methods() -> None:
    first, second = Procedures(None), AsyncProcedures(None)  # type: ignore[arg-type]

    shown = [
        {
            f"{noun}.{name}": str(inspect.signature(method)).partition(" -> ")[0]
            for noun, group in vars(procedures).items()
            for name, method in inspect.getmembers(group, inspect.ismethod)
            if not name.startswith("_")
        }
        for procedures in (first, second)
    ]
    assert shown[0] == shown[1]
    assert len(shown[0]) > len(operations())


def test_an_event_has_every_field_of_the_stream() -> None:
    sent = set(EventOutput.model_fields) | set(SnapshotOutput.model_fields)

    assert sent <= set(Event.model_fields)


def test_the_library_imports_nothing_of_the_rest() -> None:
    import_lines = [
        line
        for path in Path(inspect.getfile(Event)).parent.glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("from ", "import "))
    ]

    assert not [line for line in import_lines if line.split()[1].split(".")[0] in {"api", "shared"}]
