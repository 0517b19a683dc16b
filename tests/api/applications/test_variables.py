"""Variables: what dotenv lines say, and what is refused without a word of its content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.applications.variables import parse_variables, show_variables

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VARIABLES = st.dictionaries(NAMES, VALUES, max_size=8)


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("\n  \n# a comment\n", {}),
        ("A=1", {"A": "1"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ('A=1\nB="x y"', {"A": "1", "B": "x y"}),
        ("  export A = x y  ", {"A": "x y"}),
        ("A=", {"A": ""}),
        ("A=''", {"A": ""}),
        ("A=b=c==", {"A": "b=c=="}),
        ("A=b#c # why", {"A": "b#c"}),
        ("A= # nothing", {"A": ""}),
        ("A='it # stays' # why", {"A": "it # stays"}),
        (r'A="\"quoted\" \\ \$5 \n\t\q"', {"A": '"quoted" \\ $5 \n\t\\q'}),
        (r"A='\n'", {"A": r"\n"}),
        (r"A=\n", {"A": r"\n"}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A='one\n\ntwo'", {"A": "one\n\ntwo"}),
        ("a.b-c_1=1", {"a.b-c_1": "1"}),
        ("A=ключ 🔑", {"A": "ключ 🔑"}),
    ],
)
def test_lines_are_read(text: str, variables: dict[str, str]) -> None:
    assert parse_variables(text) == variables


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hush", 1),
        ("A=1\nhush", 2),
        ("=hush", 1),
        ("1A=hush", 1),
        ("A B=hush", 1),
        ("A\0=hush", 1),
        ('A="hush', 1),
        ("A='hush", 1),
        ('A="hush" more', 1),
        ("A='it's hush'", 1),
        ('A="one\ntwo"\nhush', 3),
        ("\x0bA=hush", 1),
        ("A" * 201 + "=hush", 1),
        ("A=1\nB=2\nA=hush", 3),
    ],
)
def test_a_line_that_is_none_is_named_by_its_number_alone(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"line {line} ") as caught:
        parse_variables(text)

    assert "hush" not in str(caught.value)


@given(variables=VARIABLES)
def test_shown_variables_are_read_back_the_same(variables: dict[str, str]) -> None:
    assert parse_variables(show_variables(variables)) == variables


@given(text=st.text() | st.text(st.sampled_from("AB= '\"\\\n#\r\t")))
def test_any_text_is_variables_or_a_value_error(text: str) -> None:
    try:
        variables = parse_variables(text)
    except ValueError:
        return

    assert parse_variables(show_variables(variables)) == variables


@pytest.mark.parametrize(
    "text",
    ['A="' + "\\" * 65_000, "A='" + "'" * 65_000, " " * 65_000 + "A", "\n" * 65_000 + "A"],
    ids=["backslashes", "quotes", "blanks", "lines"],
)
def test_a_long_text_is_refused(text: str) -> None:
    """Any of these would keep an expression that goes back and forth busy for hours."""
    with pytest.raises(ValueError, match="is not NAME=VALUE"):
        parse_variables(text)
