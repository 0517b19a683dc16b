"""The API's refusals, as the demo and `wharf up` show them."""

import httpx2
import pytest

from worker.local.stack import _read_error

CAUSE = {"code": "conflict", "remedy": "Choose another name."}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (
            {"message": "it exists", "data": {"code": "CONFLICT", "cause": CAUSE}},
            ("it exists (conflict)", "Choose another name."),
        ),
        (
            {"message": "it exists", "data": {"code": "CONFLICT"}},
            ("it exists (CONFLICT)", ""),
        ),
        (["other"], ('["other"]', "")),
        ({"message": "x", "data": None}, ('{"message":"x","data":null}', "")),
    ],
)
def test_an_error_of_the_api_is_read_as_a_sentence(answer: object, shown: tuple[str, str]) -> None:
    assert _read_error(httpx2.Response(409, json=answer)) == shown


def test_an_answer_that_is_no_json_is_shown_as_it_is() -> None:
    assert _read_error(httpx2.Response(502, text="<html>Bad Gateway")) == ("<html>Bad Gateway", "")
