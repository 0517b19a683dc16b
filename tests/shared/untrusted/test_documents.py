"""Stored documents are read whatever stands in them."""

import json

import pytest

from shared.untrusted.documents import MAX_LEVELS, UNREADABLE, load_document


def nest(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "text",
    [
        nest(MAX_LEVELS + 1),
        nest(100_000),
        f'{{"a": 1{"0" * 400}}}',
        f'{{"a": -1{"0" * 5000}}}',
    ],
    ids=["deep", "very deep", "400 digits", "5000 digits"],
)
def test_an_unreadable_document_is_shown_as_unreadable(text: str) -> None:
    assert load_document(text) == UNREADABLE
    assert load_document(text.encode()) == UNREADABLE


@pytest.mark.parametrize(
    "document",
    [
        {"a": [{"b": [1, -2, 1.5, None, True]}] * 100},
        {"digits": "1" * 400, "largest": 2**63},
        json.loads(nest(MAX_LEVELS - 1)),
        "a text",
    ],
)
def test_all_else_is_read_as_it_is(document: object) -> None:
    assert load_document(json.dumps(document)) == document
