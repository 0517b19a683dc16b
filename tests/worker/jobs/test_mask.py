"""Secrets are masked in the output of programs."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import WharfError
from worker.jobs.mask import HIDDEN, Mask, masking

SECRET = 'p&ss w0rd/+"é77'
SECRETS = st.text(st.characters(codec="utf-8"), min_size=8, max_size=30).filter(
    lambda text: text == text.strip() and len(text.splitlines()) == 1
)


@pytest.mark.parametrize(
    "shape",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps({"password": SECRET}),
        json.dumps({"password": SECRET}, ensure_ascii=False),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(f"alice:{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_all_encodings(shape: str) -> None:
    shown = Mask([SECRET])(f"before {shape} after")

    assert HIDDEN in shown
    assert "ss w0rd" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@given(SECRETS, st.binary(max_size=7), st.binary(max_size=7))
def test_a_secret_within_longer_base64_is_masked(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()

    assert HIDDEN in Mask([secret])(encoded)


def test_a_key_of_several_lines_is_masked_line_by_line() -> None:
    mask = Mask(["-----BEGIN KEY-----\nMIIEabcdefgh\n-----END KEY-----\n"])

    assert mask("got MIIEabcdefgh") == f"got {HIDDEN}"


def test_the_longer_of_two_secrets_is_masked_first() -> None:
    assert Mask(["abcd", "abcdefgh"])("abcdefgh") == HIDDEN


@pytest.mark.parametrize("secrets", [[], [""], ["abc"], ["\n"]])
def test_a_text_that_is_too_short_to_be_a_secret_masks_nothing(secrets: list[str]) -> None:
    assert Mask(secrets)("abc and more") == "abc and more"


@given(SECRETS, st.text(max_size=20))
def test_no_secret_is_left_in_any_text(secret: str, text: str) -> None:
    shown = Mask([secret])(f"{text}{secret}{text}")

    assert secret not in shown or secret in HIDDEN or secret in f"{text}{HIDDEN}{text}"


def test_a_secret_is_masked_in_the_message_of_an_error() -> None:
    with pytest.raises(WharfError) as caught, masking(Mask([SECRET])):
        raise WharfError(f"git failed: {SECRET}")

    assert caught.value.message == f"git failed: {HIDDEN}"
    assert SECRET not in repr(caught.value)
