"""A variable of a compose file is filled in from given values or its default, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.compose.variables import Variables
from shared.errors import InvalidComposeError


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("app:1", "app:1"),
        ("app:${TAG:-1.4}", "app:1.4"),
        ("app:${TAG-1.4}", "app:1.4"),
        ("${HOST:-ghcr.io}/app:${TAG:-${OTHER:-2}}", "ghcr.io/app:2"),
        ("app${SUFFIX:-}", "app"),
        ("app${TAG:+:1}", "app"),
        ("app:$GIVEN", "app:7"),
        ("app:${GIVEN}-${GIVEN:-8}", "app:7-7"),
        ("app:${GIVEN:?say which}", "app:7"),
        ("app:${GIVEN:+1}", "app:1"),
        ("app:${EMPTY:-1}", "app:1"),
        ("app${EMPTY-:1}", "app"),
        ("app${EMPTY+:1}", "app:1"),
        ("app${EMPTY:+:1}", "app"),
        ("app:${A:-x${GIVEN}y}z", "app:x7yz"),
    ],
)
def test_a_value_or_a_default_is_filled_in(text: str, filled: str) -> None:
    assert Variables({"GIVEN": "7", "EMPTY": ""}).fill(text) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app:$TAG", "the variable TAG "),
        ("app:${TAG}", "the variable TAG "),
        ("app:${TAG:?say which}", "the variable TAG "),
        ("app:${EMPTY:?say which}", "the variable EMPTY "),
        ("app:${A:-${B}}", "the variable B "),
        ("app:${A:-1}${B}", "the variable B "),
        ("app:$$", "does not begin a variable"),
        ("app:${", "does not begin a variable"),
        ("app:${A:-1", "does not begin a variable"),
    ],
)
def test_a_variable_without_a_value_and_a_default_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidComposeError, match=message):
        Variables({"EMPTY": ""}).fill(text)


def test_ours_are_not_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "ours")

    assert Variables().fill("app:${TAG:-theirs}") == "app:theirs"


def test_used_and_defaulted_variables_are_known() -> None:
    variables = Variables({"A": "1"})

    variables.fill("${A:-x}${B:-y}${C:+z}")

    assert variables.used == {"A", "B", "C"}
    assert variables.defaulted == {"B"}


@given(st.text("${}:-?+AB1", max_size=40))
def test_no_dollar_is_left(text: str) -> None:
    try:
        filled = Variables().fill(text)
    except InvalidComposeError:
        filled = text.replace("$", "")

    assert "$" not in filled


@given(st.text("${}:-?+AB1", max_size=40))
def test_any_text_can_be_filled_without_refusal(text: str) -> None:
    assert isinstance(Variables().fill(text, is_strict=False), str)
