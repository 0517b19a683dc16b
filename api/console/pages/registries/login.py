"""The fields of a registry's form, as the procedures take them."""

from collections.abc import Mapping
from typing import Any

Form = Mapping[str, str]

KINDS = (
    ("password", "Username and password or token"),
    ("ecr", "AWS ECR: access keys or a role"),
    ("acr", "Azure: a service principal"),
    ("google", "Google: a service account or an external account"),
)
SOURCE_TEXTS = {
    "ecr": ("accessKeyId", "secretAccessKey", "sessionToken", "roleArn", "externalId"),
    "acr": ("tenantId", "clientId", "clientSecret", "federatedTokenFile"),
    "google": ("serviceAccountKey", "externalAccount"),
}
SOURCE_CHECKS = {"ecr": ("machineIdentity", "createRepository")}
SECRETS = frozenset(
    {
        *("password", "secretAccessKey", "sessionToken", "clientSecret"),
        *("serviceAccountKey", "externalAccount", "clientKey"),
    }
)
"""The fields that no page shows again."""

TLS_TEXTS = ("caCertificate", "clientCertificate", "clientKey")
MAX_DIGITS = 9
ALLOWED = ("allowedServers", "allowedApplications")


def read_login(form: Form) -> dict[str, Any]:
    """Return the login that was typed: a username and a password, or a credential."""
    kind = form.get("kind", "password")
    if kind in SOURCE_TEXTS:
        return {"credential": {"kind": kind, **_given(form, kind)}}
    return {name: form[name] for name in ("username", "password") if form.get(name)}


def read_tls(form: Form) -> dict[str, Any]:
    """Return the certificates that were typed, and whether plain HTTP is allowed."""
    tls: dict[str, Any] = {name: form[name] for name in TLS_TEXTS if form.get(name, "").strip()}
    return tls | ({"plainHttp": True} if is_checked(form, "plainHttp") else {})


def read_settings(form: Form) -> dict[str, Any]:
    """Return all other fields of a registry."""
    return {
        "registryName": form.get("registryName", "").strip(),
        "registryUrl": form.get("registryUrl", "").strip(),
        "imagePrefix": form.get("imagePrefix", "").strip() or None,
        "rotateAfterDays": read_number(form.get("rotateAfterDays", "")),
        **{name: read_chosen(form, name) for name in ALLOWED},
    }


def read_number(text: str) -> int | str | None:
    """Return a whole number; another text as it is, which the procedure refuses."""
    text = text.strip()
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else text or None


def read_chosen(form: Form, name: str) -> list[str]:
    """Return the ids of the checkboxes ``NAME:ID`` that are checked."""
    return [field.removeprefix(f"{name}:") for field in form if field.startswith(f"{name}:")]


def is_checked(form: Form, name: str) -> bool:
    return form.get(name) == "true"


def _given(form: Form, kind: str) -> dict[str, Any]:
    texts = {name: form[name].strip() for name in SOURCE_TEXTS[kind] if form.get(name, "").strip()}
    checks = {name: True for name in SOURCE_CHECKS.get(kind, ()) if is_checked(form, name)}
    return {**texts, **checks}
