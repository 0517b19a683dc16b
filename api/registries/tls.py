"""The TLS of a registry: its own CA, a client certificate, and the permission for plain HTTP."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, SecretStr

from api.errors import InvalidCertificateError, PasswordNeededError
from api.fields.shapes import Input, Password
from api.procedure.auth import require_role
from api.procedure.context import Context
from api.registries.certificates import (
    describe_certificates,
    require_ca,
    require_client,
    show_certificates,
)
from shared.models import Registry
from shared.reference import names_plain_http
from shared.vault import SealContext

Pem = Annotated[str, Field(min_length=1, max_length=100_000)]

CLIENT_KEY = "client_key"
"""The purpose of a sealed key of a client certificate."""


STORED_TLS = """
SELECT bool_or(plain_http) AS plain_http,
       (array_agg(ca_certificate ORDER BY created_at, registry_id)
         FILTER (WHERE ca_certificate IS NOT NULL))[1] AS ca_certificate
  FROM registry WHERE organization_id = %(organization_id)s AND host = %(host)s
HAVING count(*) > 0
"""


class TlsFields(Input):
    """The TLS of a registry; null removes a certificate."""

    ca_certificate: Pem | None = None
    client_certificate: Pem | None = None
    client_key: Password | None = None
    plain_http: bool = False


class StoredTlsFields(TlsFields):
    """The TLS of a registry, as an administrator stores it."""

    install_ca: bool = False


@dataclass(frozen=True)
class TrialTls:
    """The TLS of a registry that is tested before it is stored."""

    ca_certificate: str = ""
    client_certificate: str = ""
    client_key: SecretStr = field(default_factory=lambda: SecretStr(""))
    plain_http: bool = False


def set_tls(context: Context, registry: Registry, request: StoredTlsFields, *, host: str) -> None:
    """Set what is given; the registry's host was ``host`` when its client key was sealed.

    A URL that begins with ``http://`` allows plain HTTP, for clients that do not know the field.

    Raises:
        InvalidCertificateError: a certificate or key cannot be used.
        PasswordNeededError: the stored client key is for another host.
    """
    given, now = request.model_fields_set, datetime.now(UTC)
    if "ca_certificate" in given:
        pem = request.ca_certificate
        registry.ca_certificate = require_ca(pem, now) if pem else None
    if {"client_certificate", "client_key"} & given:
        _set_client(context, registry, request, now)
    elif registry.client_key is not None and registry.host != host:
        raise PasswordNeededError(
            "the registry's host has changed, so the stored client key cannot be used",
            remedy="Give clientCertificate and clientKey again, or clientCertificate: null.",
        )
    if {"ca_certificate", "client_certificate", "client_key"} & given:
        registry.certificates = describe_certificates(registry)
    if "install_ca" in given:
        registry.install_ca = request.install_ca
    if "plain_http" in given:
        registry.plain_http = request.plain_http
    elif "registry_url" in given and names_plain_http(registry.registry_url):
        registry.plain_http = True


async def find_trial_tls(context: Context, request: TlsFields, url: str, host: str) -> TrialTls:
    """Return the TLS of a registry that is tested before it is stored.

    A URL of an administrator that begins with ``http://`` allows plain HTTP. What is stored for the
    same host, in any registry of the organization, counts too.

    Raises:
        ForbiddenError: only administrators allow plain HTTP.
        InvalidCertificateError: a certificate or key cannot be used.
    """
    if request.plain_http:
        require_role(context.caller, "admin")
    now, given = datetime.now(UTC), _require_pair(request)
    certificate, key = require_client(*given, now) if given else ("", SecretStr(""))
    ca = require_ca(request.ca_certificate, now) if request.ca_certificate else ""
    values = {"organization_id": context.organization_id, "host": host}
    async with context.resources.pool.connection() as connection:
        stored = await (await connection.execute(STORED_TLS, values)).fetchone() or {}
    return TrialTls(
        ca_certificate=ca or stored.get("ca_certificate") or "",
        client_certificate=certificate,
        client_key=key,
        plain_http=_is_plain(context, request, url) or stored.get("plain_http", False),
    )


def _is_plain(context: Context, request: TlsFields, url: str) -> bool:
    if "plain_http" in request.model_fields_set:
        return request.plain_http
    return context.caller.is_admin and names_plain_http(url)


def show_tls(registry: Registry) -> dict[str, Any]:
    """Return the certificates of an answer: `ca_certificates` and `client_identity`."""
    client = show_certificates(registry, "client")
    return {
        "ca_certificates": show_certificates(registry, "ca"),
        "client_identity": client[0] if client else None,
    }


def _set_client(
    context: Context, registry: Registry, request: StoredTlsFields, now: datetime
) -> None:
    given = _require_pair(request)
    if given is None:
        registry.client_certificate = registry.client_key = None
        return
    registry.client_certificate, key = require_client(*given, now)
    bound = SealContext(
        purpose=CLIENT_KEY,
        organization_id=registry.organization_id,
        object_id=registry.registry_id,
        host=registry.host,
        username="",
    )
    registry.client_key = context.resources.vault.seal(key.get_secret_value(), bound)


def _require_pair(request: TlsFields) -> tuple[str, SecretStr] | None:
    pem, key = request.client_certificate, request.client_key
    if (pem is None) != (key is None):
        raise InvalidCertificateError(
            "clientCertificate and clientKey belong together, and only one of them is given",
            remedy="Give both, or clientCertificate: null to remove both.",
        )
    return None if pem is None or key is None else (pem, key)
