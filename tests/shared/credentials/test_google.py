"""Key files of Google: parsed when they are stored, and refused without showing any of them."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from shared.credentials.google import GoogleSource, parse_key_login

EMAIL = "wharf@my-project.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"


def make_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    closed = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, closed).decode()


RSA_PEM = make_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
KEY = {
    "type": "service_account",
    "client_email": EMAIL,
    "private_key": RSA_PEM,
    "private_key_id": "abc",
    "token_uri": "https://oauth2.googleapis.com/token",
}
ACCOUNT: dict[str, Any] = {
    "type": "external_account",
    "audience": AUDIENCE,
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/var/run/token"},
}


def with_key(text: str) -> GoogleSource:
    return GoogleSource.model_validate({"kind": "google", "serviceAccountKey": text})


def with_account(document: dict[str, Any]) -> GoogleSource:
    return GoogleSource.model_validate({"kind": "google", "externalAccount": json.dumps(document)})


def refusal(text: str) -> str:
    with pytest.raises(ValidationError) as raised:
        with_key(text)
    shown = str(raised.value)
    [error] = raised.value.errors()
    assert RSA_PEM.splitlines()[3] not in shown + str(error["msg"])
    return str(error["msg"])


def test_a_whole_key_is_accepted_and_shows_whose_it_is() -> None:
    source = with_key(json.dumps(KEY))

    assert source.shown() == {"kind": "google", "service_account": EMAIL}
    assert not source.uses_machine
    assert "PRIVATE" not in repr(source)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<service-account-json>", "is no JSON"),
        ("-----BEGIN PRIVATE KEY-----", "is no JSON"),
        ("[" * 5000, "is no JSON"),
        ('["service_account"]', "is no JSON object"),
        (json.dumps(KEY)[:-40], "is no JSON"),
        (json.dumps({**KEY, "private_key": RSA_PEM[:700]}), "is damaged"),
        (json.dumps({**KEY, "private_key": ""}), "is damaged"),
        (json.dumps({k: v for k, v in KEY.items() if k != "private_key"}), "lacks private_key"),
        (json.dumps({k: v for k, v in KEY.items() if k != "client_email"}), "lacks client_email"),
        (json.dumps({**KEY, "type": "authorized_user"}), "is of another type"),
        (json.dumps(ACCOUNT), "is of another type"),
        (json.dumps({**KEY, "token_uri": "https://token.example/token"}), "address of Google"),
        (json.dumps({**KEY, "token_uri": "http://oauth2.googleapis.com/token"}), "address of Go"),
        (
            json.dumps({**KEY, "token_uri": "https://oauth2.googleapis.com@evil.example/"}),
            "address of Google",
        ),
        (json.dumps({**KEY, "token_uri": "https://evilgoogleapis.com/"}), "address of Google"),
        (json.dumps({**KEY, "universe_domain": "s3ns.fr"}), "universe_domain is not"),
        (
            json.dumps({**KEY, "private_key": make_pem(ec.generate_private_key(ec.SECP256R1()))}),
            "is no RSA key",
        ),
        (
            json.dumps(
                {**KEY, "private_key": make_pem(rsa.generate_private_key(65537, key_size=1024))}  # noqa: S505 - refused for it
            ),
            "is no RSA key of at least 2048 bits",
        ),
    ],
)
def test_a_key_that_is_not_whole_is_refused_with_the_reason(text: str, words: str) -> None:
    assert words in refusal(text)


@given(st.text(min_size=1, max_size=60))
def test_no_text_breaks_the_parser_or_is_shown(text: str) -> None:
    with pytest.raises(ValidationError) as raised:
        with_key(text)

    assert len(text) < 12 or text not in str(raised.value)


def test_a_key_and_an_external_account_exclude_one_another() -> None:
    both = {
        "kind": "google",
        "serviceAccountKey": json.dumps(KEY),
        "externalAccount": json.dumps(ACCOUNT),
    }

    for given_fields in (both, {"kind": "google"}):
        with pytest.raises(ValidationError, match="Give either serviceAccountKey"):
            GoogleSource.model_validate(given_fields)


def test_an_external_account_shows_its_audience_and_account() -> None:
    url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
    source = with_account(
        {**ACCOUNT, "service_account_impersonation_url": f"{url}{EMAIL}:generateAccessToken"}
    )

    assert source.shown() == {"kind": "google", "audience": AUDIENCE, "service_account": EMAIL}
    assert source.uses_machine


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"credential_source": {"executable": {"command": "/bin/sh"}}}, "is not supported"),
        ({"credential_source": {"environment_id": "aws1"}}, "is not supported"),
        ({"credential_source": {}}, "needs either file or url"),
        ({"credential_source": {"file": "/a", "url": "https://b"}}, "needs either file or url"),
        ({"credential_source": {"file": "relative"}}, "credential_source.file is not valid"),
        ({"credential_source": {"url": "ftp://a"}}, "credential_source.url is not valid"),
        ({"credential_source": {"file": "/a", "format": {"type": "json"}}}, "field_name"),
        ({"token_url": "https://sts.example/v1/token"}, "address of Google"),
        ({"service_account_impersonation_url": "https://storage.googleapis.com/x"}, "generateA"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "is not valid"),
        ({"client_secret": "s3cret-of-a-client"}, "client_secret is not supported"),
        ({"audience": "https://elsewhere"}, "audience is not valid"),
    ],
)
def test_an_external_account_that_cannot_be_used_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        with_account({**ACCOUNT, **changes})

    [error] = raised.value.errors()
    assert words in error["msg"]
    assert "s3cret-of-a-client" not in str(raised.value)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("_json_key", json.dumps(KEY, indent=2)),
        ("_json_key_base64", base64.b64encode(json.dumps(KEY).encode()).decode()),
        ("_json_key_base64", base64.encodebytes(json.dumps(KEY).encode()).decode()),
    ],
)
def test_a_key_as_a_password_stands_for_a_source(username: str, password: str) -> None:
    source = parse_key_login(username, SecretStr(password))

    assert source is not None
    assert source.shown()["service_account"] == EMAIL


@pytest.mark.parametrize("username", ["oauth2accesstoken", "AWS", "_json_key_base65"])
def test_another_username_stands_for_no_key(username: str) -> None:
    assert parse_key_login(username, SecretStr(json.dumps(KEY))) is None


@pytest.mark.parametrize(
    ("username", "password", "words"),
    [
        ("_json_key", "<service-account-json>", "is no JSON"),
        ("_json_key", json.dumps({**KEY, "private_key": RSA_PEM[:700]}), "is damaged"),
        ("_json_key_base64", json.dumps(KEY), "is not in base64"),
        ("_json_key_base64", base64.b64encode(b"\xff\xfe").decode(), "is not in base64"),
        ("_json_key_base64", base64.b64encode(b"no key").decode(), "is no JSON"),
    ],
)
def test_a_password_that_is_no_whole_key_is_told_why(
    username: str, password: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        parse_key_login(username, SecretStr(password))

    assert RSA_PEM.splitlines()[3] not in str(raised.value)
