from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.faults import FaultCode
from worker.oci.transport.answers import Asked, error_codes, make_answer_error, parse_retry_after
from worker.oci.transport.http import Answer

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATER = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
EARLIER = format_datetime(NOW - timedelta(seconds=90), usegmt=True)


def make_answer(
    status: int, body: bytes = b"", kind: str = "application/json", method: str = "GET"
) -> Answer:
    url = URL("https://registry.example.test/v2/")
    return Answer(method, url, status, {"Content-Type": kind}, body)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("37", 37.0),
        (" 5 ", 5.0),
        ("999999999", 86400.0),
        (LATER, 90.0),
        (EARLIER, 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert parse_retry_after({"Retry-After": text}, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_no_error(text: str) -> None:
    found = parse_retry_after({"Retry-After": text}, NOW)

    assert found is None or 0 <= found <= 86400


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"errors":[{"code":"DENIED"},{"code":"UNKNOWN"}]}', ("DENIED", "UNKNOWN")),
        (b'{"errors":[{"code":"<script>"}]}', ()),
        (b'{"errors":"DENIED"}', ()),
        (b"<html>", ()),
        (b"[" * 100_000, ()),
        (b"\xff\xfe", ()),
    ],
)
def test_codes_are_read_where_there_are_any(body: bytes, codes: tuple[str, ...]) -> None:
    assert error_codes(make_answer(403, body)) == codes


@pytest.mark.parametrize(
    ("answer", "asked", "code"),
    [
        (make_answer(401), Asked.PULL, FaultCode.PULL_DENIED),
        (make_answer(401), Asked.PUSH, FaultCode.PUSH_DENIED),
        (make_answer(401), Asked.PING, FaultCode.AUTH_BAD_CREDENTIALS),
        (make_answer(401), Asked.TAG, FaultCode.PUSH_DENIED),
        (make_answer(409), Asked.TAG, FaultCode.TAG_IMMUTABLE),
        (make_answer(413), Asked.PUSH, FaultCode.LAYER_TOO_LARGE),
        (make_answer(401), Asked.DELETE, FaultCode.PUSH_DENIED),
        (make_answer(405), Asked.DELETE, FaultCode.DELETE_UNSUPPORTED),
        (
            make_answer(400, b'{"errors":[{"code":"TAG_INVALID"}]}'),
            Asked.TAG,
            FaultCode.TAG_IMMUTABLE,
        ),
        (
            make_answer(400, b'{"errors":[{"code":"TAG_INVALID"}]}'),
            Asked.PULL,
            FaultCode.REF_INVALID,
        ),
        (
            make_answer(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}'),
            Asked.TAG,
            FaultCode.UPLOAD_CORRUPT,
        ),
        (make_answer(403, method="HEAD"), Asked.PULL, FaultCode.PULL_DENIED),
        (
            make_answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
            Asked.PULL,
            FaultCode.IMAGE_NOT_FOUND,
        ),
        (
            make_answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'),
            Asked.PULL,
            FaultCode.REPO_MISSING,
        ),
        (make_answer(404, b"<html>", "text/html"), Asked.PULL, FaultCode.NOT_A_REGISTRY),
        (
            make_answer(400, b'{"errors":[{"code":"NAME_INVALID"}]}'),
            Asked.PUSH,
            FaultCode.REF_INVALID,
        ),
        (
            make_answer(405, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
            Asked.PUSH,
            FaultCode.REGISTRY_ERROR,
        ),
        (make_answer(502, b"<html>", "text/html"), Asked.PULL, FaultCode.REGISTRY_ERROR),
    ],
)
def test_a_refusal_means_what_was_asked(answer: Answer, asked: Asked, code: FaultCode) -> None:
    assert make_answer_error(answer, asked, "r/x", as_nobody=False).code == code


def test_a_registrys_own_sentence_is_not_repeated() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"bad password hunter2"}]}'

    fault = make_answer_error(make_answer(403, body), Asked.PUSH, "r/x", as_nobody=False).fault()

    assert "hunter2" not in repr(fault) and "DENIED" in fault.evidence
