"""A caller with the secret is accepted, in each of the three ways; nobody else is."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.deploy_hooks.signature import require_signed
from api.errors import SignatureError

KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
BODY, NOW = b'{"events": []}', 1_700_000_000


def standard(
    body: bytes = BODY, *, sent: int = NOW, key: bytes = KEY, message_id: str = "msg"
) -> dict[str, str]:
    """Sign as the standard says."""
    digest = hmac.new(key, f"{message_id}.{sent}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def github(body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={digest}"}


def several() -> dict[str, str]:
    good = standard()
    return {**good, "webhook-signature": f"v1,AAAA v1a,BBBB {good['webhook-signature']}"}


@pytest.mark.parametrize(
    "headers",
    [
        standard(),
        standard(sent=NOW - 299),
        standard(sent=NOW + 299),
        several(),
        github(),
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer  {SECRET}"},
        {"authorization": SECRET},
    ],
)
def test_a_caller_with_the_secret_is_accepted(headers: dict[str, str]) -> None:
    proof = require_signed(headers, BODY, SECRET, now=NOW)

    assert (proof == "github") == ("x-hub-signature-256" in headers)


@pytest.mark.parametrize(
    "headers",
    [
        standard(b"another"),
        standard(key=b"another"),
        standard(sent=NOW - 301),
        standard(sent=NOW + 301),
        {**standard(), "webhook-id": "another"},
        {**standard(), "webhook-timestamp": str(NOW - 1)},
        {**standard(), "webhook-timestamp": "-1"},
        {**standard(), "webhook-timestamp": "1e9"},
        {**standard(), "webhook-timestamp": "\u0661"},
        {**standard(), "webhook-timestamp": "9" * 400},
        {"webhook-signature": standard()["webhook-signature"]},
        {**standard(), "webhook-signature": ""},
        {**standard(), "webhook-signature": "v1,", **github()},
        github(b"another"),
        github(secret="another"),
        {"x-hub-signature-256": github()["x-hub-signature-256"].removeprefix("sha256=")},
        {"x-hub-signature-256": ""},
        {"authorization": "Bearer whsec_another"},
        {"authorization": "Bearer"},
        {"authorization": ""},
        {"authorization": "Bearer \xe4\ud800"},
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_a_wrong_proof_never_does(headers: dict[str, str], *, required: bool) -> None:
    with pytest.raises(SignatureError):
        require_signed(headers, BODY, SECRET, now=NOW, required=required)


def test_no_proof_does_where_none_is_required() -> None:
    require_signed({"content-type": "application/json"}, BODY, SECRET, now=NOW, required=False)
    with pytest.raises(SignatureError):
        require_signed({"content-type": "application/json"}, BODY, SECRET, now=NOW)


NAMES = ("webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256")


@given(st.dictionaries(st.sampled_from([*NAMES, "authorization"]), st.text(max_size=60)))
def test_no_headers_are_too_strange(headers: dict[str, str]) -> None:
    with pytest.raises(SignatureError) as caught:
        require_signed(headers, BODY, SECRET, now=NOW)

    assert SECRET not in str(caught.value)
