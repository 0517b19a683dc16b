"""Rules on input fields, and what is made of them."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from api.applications.changes import ApplicationChange
from api.errors import NoEffectError
from api.fields.effects import AppliesTo, NotBeside, judge
from api.fields.shapes import Change, Input, Warned
from api.routers import PROCEDURES

ON_SERVICES = AppliesTo("runtime", ("service",), harmless=1)


class Part(Input):
    mode: Annotated[Literal["host", "ingress"], ON_SERVICES] = "ingress"


class RequestInput(Input):
    NOT_USED: ClassVar[Mapping[str, str]] = {"autoDeploy": "autoDeploy has no effect"}
    NEVER_NULL: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str = "web"
    replicas: Annotated[int, ON_SERVICES] = 1
    branch: Annotated[
        str | None, NotBeside("commit"), AppliesTo("source_type", ("git",), refused=True)
    ] = None
    commit: str | None = None
    keep: Annotated[int | None, AppliesTo("registry_id")] = None
    parts: list[Part] = Field(default_factory=list)


def names(requested: RequestInput, **subject: object) -> list[str]:
    chosen = {"runtime": "container", "source_type": "git", "registry_id": None, **subject}
    return [each.field for each in judge(requested, SimpleNamespace(**chosen))]


@pytest.mark.parametrize(
    ("given", "subject", "named"),
    [
        ({"replicas": 3}, {}, ["replicas"]),
        ({"replicas": 3}, {"runtime": "service"}, []),
        ({"replicas": 1}, {}, []),
        ({}, {}, []),
        ({"branch": "main", "commit": "a"}, {}, ["branch"]),
        ({"branch": "main", "commit": None}, {}, []),
        ({"branch": "main"}, {"source_type": None}, []),
        ({"keep": 3}, {}, ["keep"]),
        ({"keep": 3}, {"registry_id": "x"}, []),
        ({"parts": [{"mode": "host"}, {}]}, {}, ["mode"]),
    ],
)
def test_a_field_without_effect_is_named(
    given: dict[str, object], subject: dict[str, object], named: list[str]
) -> None:
    assert names(RequestInput.model_validate(given), **subject) == named


def test_a_field_that_would_change_what_is_done_is_refused_with_what_to_do() -> None:
    requested = RequestInput.model_validate({"branch": "main"})

    with pytest.raises(NoEffectError) as refused:
        names(requested, source_type="docker")

    said = "branch has no effect if sourceType is docker, only if it is git"
    assert (refused.value.message, refused.value.remedy) == (said, "Leave branch out.")


@pytest.mark.parametrize(
    ("value", "named"), [(True, ["autoDeploy"]), (False, ["autoDeploy"]), (None, []), ("", [])]
)
def test_a_field_that_is_not_used_is_named_where_it_asks_for_something(
    value: object, named: list[str]
) -> None:
    requested = RequestInput.model_validate({"autoDeploy": value})

    assert [each.field for each in requested.warnings] == named
    assert requested.model_fields_set == set()


def test_null_for_a_field_that_is_never_null_changes_nothing_and_is_named() -> None:
    requested = RequestInput.model_validate({"name": None, "autoDeploy": None})

    assert requested.model_fields_set == set()
    [warning] = requested.warnings
    assert (warning.field, warning.message) == ("name", "name has no effect: it cannot be null")


def test_every_answer_has_a_place_for_the_warnings_of_its_input() -> None:
    objects = {
        name: procedure.output
        for name, procedure in PROCEDURES.items()
        if getattr(procedure.output, "model_fields", None)
        and not issubclass(procedure.output, ApplicationChange)
    }
    without = {
        name
        for name, output in objects.items()
        if PROCEDURES[name].input.NOT_USED and not issubclass(output, Warned)
    }

    # The report of a test is the registry's alone: its warnings are in the header.
    assert without == {"registry.diagnose"}


def test_a_partial_update_declares_each_field_that_dokploy_has_and_is_not_used_once() -> None:
    for procedure in PROCEDURES.values():
        aliases = {field.alias for field in procedure.input.model_fields.values()}
        assert not aliases & set(procedure.input.NOT_USED), procedure.name
        assert {*procedure.input.NEVER_NULL} <= aliases
        if procedure.name.endswith((".update", ".saveBuildType", ".saveEnvironment")):
            assert issubclass(procedure.input, Change)
