"""A variable of a compose file is read as its own default, or refused by its name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.compose.variables import fill_defaults
from shared.errors import InvalidComposeError


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("app:1", "app:1"),
        ("app:${TAG:-1.4}", "app:1.4"),
        ("app:${TAG-1.4}", "app:1.4"),
        ("${HOST:-ghcr.io}/app:${TAG:-${OTHER:-2}}", "ghcr.io/app:2"),
        ("app${SUFFIX:-}", "app"),
    ],
)
def test_a_default_is_filled_in(text: str, filled: str) -> None:
    assert fill_defaults(text) == filled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app:$TAG", "the variable TAG "),
        ("app:${TAG}", "the variable TAG "),
        ("app:${TAG:?say which}", "the variable TAG "),
        ("app:${TAG:+1}", "the variable TAG "),
        ("app:${A:-${B}}", "the variable A "),
        ("app:${A:-1}${B}", "the variable B "),
        ("app:$$", "does not begin a variable"),
        ("app:${", "does not begin a variable"),
    ],
)
def test_a_variable_without_a_default_is_named(text: str, message: str) -> None:
    with pytest.raises(InvalidComposeError, match=message):
        fill_defaults(text)


def test_ours_are_not_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "ours")

    assert fill_defaults("app:${TAG:-theirs}") == "app:theirs"


@given(st.text("${}:-?+AB1", max_size=40))
def test_no_dollar_is_left(text: str) -> None:
    try:
        filled = fill_defaults(text)
    except InvalidComposeError:
        filled = text.replace("$", "")

    assert "$" not in filled
