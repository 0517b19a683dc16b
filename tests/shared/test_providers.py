"""Providers are recognised by host; tokens say when they expire."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers import Provider, advise, read_expiry, recognise

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def encode(document: object) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def make_jwt(claims: object) -> str:
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "RS256"}, claims)
    )
    return f"{head}.{body}.signature"


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("docker.io", Provider.DOCKER_HUB),
        ("ghcr.io", Provider.GHCR),
        ("123456789.dkr.ecr.us-east-1.amazonaws.com", Provider.ECR),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", Provider.ECR),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", Provider.ECR),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Provider.ECR),
        ("123456789012.dkr-ecr.us-west-2.on.aws", Provider.ECR),
        ("public.ecr.aws", Provider.ECR_PUBLIC),
        ("gcr.io", Provider.GOOGLE),
        ("eu.gcr.io", Provider.GOOGLE),
        ("europe-west1-docker.pkg.dev", Provider.GOOGLE),
        ("myregistry.azurecr.io", Provider.ACR),
        ("quay.io", Provider.QUAY),
        ("registry.gitlab.com", Provider.GITLAB),
        ("registry.digitalocean.com", Provider.DIGITALOCEAN),
        ("rg.fr-par.scw.cloud", Provider.SCALEWAY),
        ("fra.ocir.io", Provider.ORACLE),
        ("registry.example.com:5000", Provider.SELF_HOSTED),
        ("evil-ghcr.io", Provider.SELF_HOSTED),
        ("ghcr.io.example.com", Provider.SELF_HOSTED),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com", Provider.SELF_HOSTED),
    ],
)
def test_a_provider_is_recognised_by_its_host(host: str, provider: Provider) -> None:
    assert recognise(host) is provider


@pytest.mark.parametrize(
    ("secret", "expires"),
    [
        (encode({"payload": "x", "version": "2", "expiration": NOON.timestamp()}), NOON),
        (encode({"expiration": int(NOON.timestamp())}).rstrip("="), NOON),
        (make_jwt({"exp": NOON.timestamp()}), NOON),
        (make_jwt({"exp": 1e300}), None),
        (make_jwt({"exp": True}), None),
        (make_jwt({"exp": "2026"}), None),
        (make_jwt([NOON.timestamp()]), None),
        (encode({"payload": "x"}), None),
        (encode([1]), None),
        ("dckr_pat_AbC.dEf.gHi", None),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", None),
        ('{"type": "service_account"}', None),
        ("[" * 20_000, None),
    ],
)
def test_a_token_says_when_it_expires(secret: str, expires: datetime | None) -> None:
    assert read_expiry(secret) == expires


@given(st.text())
def test_any_password_is_read_without_an_error(secret: str) -> None:
    read_expiry(secret)


@given(st.binary())
def test_any_base64_is_read_without_an_error(content: bytes) -> None:
    read_expiry(base64.b64encode(content).decode())


KEY = json.dumps({"type": "service_account", "client_email": "a@b", "private_key": "-----BEGIN"})


@pytest.mark.parametrize(
    ("host", "username", "secret", "fields"),
    [
        ("docker.io", "acme", "dckr_pat_x", []),
        ("docker.io", "me@example.com", "x", ["username"]),
        ("ghcr.io", "me", "ghp_x", []),
        ("ghcr.io", "me", "github_pat_x", ["password"]),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "AWS", "x" * 900, []),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "aws", "x", ["username"]),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "AKIA" + "A" * 16, "x", ["username"]),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "AWS", "k" * 40, ["password"]),
        ("public.ecr.aws", "me", "x", ["username"]),
        ("europe-docker.pkg.dev", "_json_key", KEY, []),
        ("europe-docker.pkg.dev", "_json_key", "{", ["password"]),
        ("europe-docker.pkg.dev", "_json_key", "{}", ["password"]),
        ("europe-docker.pkg.dev", "_json_key_base64", base64.b64encode(KEY.encode()).decode(), []),
        ("europe-docker.pkg.dev", "_json_key_base64", KEY, ["password"]),
        ("europe-docker.pkg.dev", "oauth2accesstoken", "ya29.x", ["password"]),
        ("europe-docker.pkg.dev", "me", "x", ["username"]),
        ("gcr.io", "_json_key", KEY, ["registryUrl"]),
        ("myregistry.azurecr.io", "myregistry", "x", []),
        ("myregistry.azurecr.io", "00000000-0000-0000-0000-000000000000", "e.y.J", ["password"]),
        ("ghcr.io", "me", "ghs_x", ["password"]),
        ("registry.gitlab.com", "gitlab+deploy-token-7", "gldt-x", []),
        ("registry.gitlab.com", "gitlab-ci-token", "x", ["password"]),
        ("quay.io", "acme+builder", "x", []),
        ("rg.fr-par.scw.cloud", "me", "x", ["username"]),
        ("rg.fr-par.scw.cloud", "nologin", "x", []),
        ("fra.ocir.io", "me", "x", ["username"]),
        ("fra.ocir.io", "namespace/me", "x", []),
        ("registry.example.com:5000", "me", "x", []),
    ],
)
def test_a_login_that_a_provider_will_not_accept_is_named(
    host: str, username: str, secret: str, fields: list[str]
) -> None:
    found = list(advise(recognise(host), host, username, secret))

    assert [advice.field for advice in found] == fields
    assert not any(secret in advice.message for advice in found if len(secret) > 8)


@given(st.sampled_from(Provider), st.text(), st.text())
def test_any_login_is_judged_without_an_error(
    provider: Provider, username: str, secret: str
) -> None:
    list(advise(provider, "gcr.io", username, secret))
