"""A ``.env`` file is read as compose reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.compose.dotenv import parse_dotenv


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=1\nB = 2 # two\n", {"A": "1", "B": "2"}),
        ("# A=1\n\nexport B='2 # $A'\n", {"B": "2 # $A"}),
        ('A=1\r\nB="a\\nb$A"\r\n', {"A": "1", "B": "a\nb1"}),
        ("A=1\nB=${A}-${C:-3}${D}\nA=4\n", {"A": "4", "B": "1-3"}),
        ("A='one\ntwo'\nB=3", {"A": "one\ntwo", "B": "3"}),
        ("A=\nB: 2\nC\n=4\n", {"A": "", "B": "2"}),
        ("A=b#c\nB= #c\n", {"A": "b#c", "B": ""}),
        ('A="open\n', {"A": '"open'}),
    ],
)
def test_variables_are_found(text: str, found: dict[str, str]) -> None:
    assert parse_dotenv(text) == found


@given(st.text("A=: \n\"'$#{}\\b", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    assert all(name and isinstance(value, str) for name, value in parse_dotenv(text).items())
