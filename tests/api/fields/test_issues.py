"""Findings of pydantic in zod's shapes, and superjson's marks."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidFieldsError, Issue, UnreadableInputError
from api.fields.issues import Undefined, flatten, show_issues
from api.http.trpc.superjson import read_superjson
from api.procedure.procedure import Flat, Procedure
from api.routers import PROCEDURES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ALIASES = st.sampled_from(
    sorted({a for p in PROCEDURES.values() for a in p.input.model_json_schema()["properties"]})
)
BODIES = JSON | st.dictionaries(ALIASES | st.text(max_size=5), JSON, max_size=6)


def issues_of(procedure: Procedure[Any, Any], raw: object) -> list[Issue]:
    try:
        procedure.parse(raw)
    except InvalidFieldsError as error:
        return error.issues
    return []


@given(procedure=st.sampled_from(list(PROCEDURES.values())), body=BODIES)
def test_any_json_is_an_input_or_a_list_of_printable_issues(procedure: Any, body: Any) -> None:
    for issue in issues_of(procedure, body):
        assert {"code", "path", "message"} <= set(issue)
        assert show_issues([issue]).encode()
        assert flatten([issue])


@given(
    procedure=st.sampled_from(list(PROCEDURES.values())),
    values=st.dictionaries(ALIASES, st.text(max_size=20), max_size=4),
)
def test_any_query_is_an_input_or_a_list_of_issues(procedure: Any, values: dict[str, str]) -> None:
    for issue in issues_of(procedure, Flat(values)):
        assert issue["message"]


@given(value=JSON, path=st.text(max_size=8))
def test_a_mark_of_superjson_is_read_or_refused(value: Any, path: str) -> None:
    with suppress(UnreadableInputError):
        read_superjson({"json": value, "meta": {"values": {path: ["undefined"]}, "v": 1}})


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ({"json": 1}, 1),
        ({"json": None, "meta": {"values": ["undefined"], "v": 1}}, Undefined.VALUE),
        ({"json": {"a": None}, "meta": {"values": {"a": ["undefined"]}}}, {}),
        ({"json": {"a": {"b": None}}, "meta": {"values": {"a.b": ["undefined"]}}}, {"a": {}}),
        ({"json": {"a.b": None}, "meta": {"values": {"a\\.b": ["undefined"]}}}, {}),
        ({"json": {"d": "1970"}, "meta": {"values": {"d": ["Date"]}}}, {"d": "1970"}),
        ({"json": {"a": [None]}, "meta": {"values": {"a.0": ["undefined"]}}}, {"a": [None]}),
        ({"json": {"a": 1}, "meta": {}}, {"a": 1}),
    ],
)
def test_superjson_is_read(document: object, value: object) -> None:
    assert read_superjson(document) == value


@pytest.mark.parametrize("document", [None, 1, [], {}, {"meta": {}}, {"json": {}, "tag": "1"}])
def test_invalid_superjson_is_refused(document: object) -> None:
    with pytest.raises(UnreadableInputError):
        read_superjson(document)


def test_a_long_unknown_key_is_cut() -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        PROCEDURES["registry.all"].parse({"x" * 5000: 1} | {str(n): 1 for n in range(100)})

    [issue] = caught.value.issues
    assert len(issue["keys"]) == 20
    assert len(issue["keys"][0]) == 60


NESTED: list[tuple[dict[str, Any], list[str | int], str]] = [
    ({"mounts": "x"}, ["mounts"], "Invalid input: expected array, received string"),
    ({"ports": [1]}, ["ports", 0], "Invalid input: expected object, received number"),
    (
        {"ports": [{"publishedPort": 1}]},
        ["ports", 0, "targetPort"],
        "Invalid input: expected number, received undefined",
    ),
    (
        {"ports": [{"publishedPort": 1, "targetPort": 1, "protocol": "x"}]},
        ["ports", 0, "protocol"],
        'Invalid option: expected one of "tcp"|"udp"',
    ),
    (
        {"healthCheck": {}},
        ["healthCheck", "command"],
        "Invalid input: expected array, received undefined",
    ),
    (
        {"healthCheck": {"command": []}},
        ["healthCheck", "command"],
        "Too small: expected array to have >=1 items",
    ),
]


@pytest.mark.parametrize(("change", "path", "message"), NESTED)
def test_an_issue_says_what_is_expected_deep_inside(
    change: dict[str, Any], path: list[str | int], message: str
) -> None:
    [issue] = issues_of(PROCEDURES["application.create"], {"name": "x", **change})

    assert (issue["path"], issue["message"]) == (path, message)
