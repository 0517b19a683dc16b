"""Checksums as their headers give them."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.uploads.checksum import parse_checksums
from shared.errors import InvalidInputError

DIGESTS = st.binary(min_size=32, max_size=32)
OTHERS = st.lists(st.sampled_from(["sha-512=:AA==:", "md5=:AA==:", "unixsum=1", "sha-512"]))


def text(digest: bytes) -> str:
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


@given(DIGESTS, DIGESTS, OTHERS, OTHERS)
def test_both_headers_give_what_was_put_into_them(
    first: bytes, second: bytes, before: list[str], after: list[str]
) -> None:
    found = parse_checksums([", ".join([*before, text(first), *after])], [second.hex().upper()])

    assert found == {first.hex(), second.hex()}


@given(st.lists(st.text(max_size=80)), st.lists(st.text(max_size=80)))
def test_any_text_is_a_checksum_or_refused(digests: list[str], plain: list[str]) -> None:
    with contextlib.suppress(InvalidInputError):
        assert all(len(bytes.fromhex(one)) == 32 for one in parse_checksums(digests, plain))


@pytest.mark.parametrize(
    "digest",
    [
        "sha-256=",
        "sha-256=::",
        "sha-256=:AA==:",
        "sha-256",
        "SHA-256=:=:",
        "sha-256=abc",
        "sha-512=:AA==:",
        "md5=:AA==:, unixsum=1",
        "garbage",
        "",
    ],
)
def test_a_sha256_that_is_none_is_not_passed_over(digest: str) -> None:
    with pytest.raises(InvalidInputError, match="content-digest"):
        parse_checksums([digest], [])


def test_no_checksum_is_expected_where_none_is_given() -> None:
    assert parse_checksums([], []) == frozenset()
