from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.faults import FaultCode
from worker.oci.transport.answers import make_response_error
from worker.oci.transport.http import Response
from worker.oci.transport.shape import parse_error_codes, parse_retry_after
from worker.oci.transport.verdicts import Operation

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LATER = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
EARLIER = format_datetime(NOW - timedelta(seconds=90), usegmt=True)


def make_response(
    status: int, body: bytes = b"", kind: str = "application/json", method: str = "GET"
) -> Response:
    url = URL("https://registry.example.test/v2/")
    return Response(method, url, status, {"Content-Type": kind}, body)


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
def test_any_retry_after_is_parsed_without_an_error(text: str) -> None:
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
def test_error_codes_are_parsed_from_a_valid_body(body: bytes, codes: tuple[str, ...]) -> None:
    assert parse_error_codes(make_response(403, body)) == codes


@pytest.mark.parametrize(
    ("response", "operation", "code"),
    [
        (make_response(401), Operation.PULL, FaultCode.PULL_DENIED),
        (make_response(401), Operation.PUSH, FaultCode.PUSH_DENIED),
        (make_response(401), Operation.PING, FaultCode.AUTH_BAD_CREDENTIALS),
        (make_response(401), Operation.TAG, FaultCode.PUSH_DENIED),
        (make_response(409), Operation.TAG, FaultCode.TAG_IMMUTABLE),
        (make_response(413), Operation.PUSH, FaultCode.LAYER_TOO_LARGE),
        (make_response(401), Operation.DELETE, FaultCode.PUSH_DENIED),
        (make_response(405), Operation.DELETE, FaultCode.DELETE_UNSUPPORTED),
        (
            make_response(400, b'{"errors":[{"code":"TAG_INVALID"}]}'),
            Operation.TAG,
            FaultCode.TAG_IMMUTABLE,
        ),
        (
            make_response(400, b'{"errors":[{"code":"TAG_INVALID"}]}'),
            Operation.PULL,
            FaultCode.REF_INVALID,
        ),
        (
            make_response(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}'),
            Operation.TAG,
            FaultCode.UPLOAD_CORRUPT,
        ),
        (make_response(403, method="HEAD"), Operation.PULL, FaultCode.PULL_DENIED),
        (
            make_response(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'),
            Operation.PULL,
            FaultCode.IMAGE_NOT_FOUND,
        ),
        (
            make_response(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'),
            Operation.PULL,
            FaultCode.REPO_MISSING,
        ),
        (make_response(404, b"<html>", "text/html"), Operation.PULL, FaultCode.NOT_A_REGISTRY),
        (
            make_response(400, b'{"errors":[{"code":"NAME_INVALID"}]}'),
            Operation.PUSH,
            FaultCode.REF_INVALID,
        ),
        (
            make_response(405, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
            Operation.PUSH,
            FaultCode.REGISTRY_READ_ONLY,
        ),
        (make_response(502, b"<html>", "text/html"), Operation.PULL, FaultCode.REGISTRY_ERROR),
    ],
)
def test_the_code_of_a_refusal_depends_on_the_operation(
    response: Response, operation: Operation, code: FaultCode
) -> None:
    assert make_response_error(response, operation, "r/x", is_anonymous=False).code == code


def test_a_registrys_own_message_is_not_repeated() -> None:
    body = b'{"errors":[{"code":"DENIED","message":"bad password hunter2"}]}'

    fault = make_response_error(
        make_response(403, body), Operation.PUSH, "r/x", is_anonymous=False
    ).fault()

    assert "hunter2" not in repr(fault) and "DENIED" in fault.evidence
