"""Where a registry's token server may be, so that a password is not sent wherever it says."""

from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.networks import is_address
from worker.oci.challenge import Challenge
from worker.oci.route import Route

KNOWN_REALM_HOSTS = {"docker.io": "auth.docker.io"}
"""Token servers on another host that belong to their registry (Docker's "Token Authentication")."""


@dataclass(frozen=True)
class Realm:
    """A token server, named by a challenge; ``is_foreign``: on a host we do not know it by."""

    url: URL
    service: str
    is_foreign: bool


def parse_realm(challenge: Challenge, registry: str, route: Route) -> Realm:
    """The token server of a Bearer challenge of ``registry``, which was reached by ``route``.

    HTTPS is required where the registry speaks it; else plain HTTP is for the registry's own host
    and for loopback. Addresses are checked when it is connected to.

    Raises:
        RegistryError: ``auth_unsafe_realm``.
    """
    url = _parse_url(challenge.parameters.get("realm", ""), registry)
    own = url.raw_host == route.hostname
    if url.scheme != "https" and (route.context or not (own or _is_loopback(url.host or ""))):
        raise _make_unsafe(registry, f"{url.scheme}://{url.host} is not HTTPS")
    known = own or url.host == KNOWN_REALM_HOSTS.get(registry)
    return Realm(url, challenge.parameters.get("service", ""), is_foreign=not known)


def require_as_safe(realm: Realm, reached: Route, registry: str, route: Route) -> None:
    """Raises `RegistryError` if the token server's TLS is held to less than the registry's."""
    if route.is_verified and not reached.is_verified:
        raise _make_unsafe(registry, f"the certificate of {realm.url.host} is not verified")


def _parse_url(text: str, registry: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise _make_unsafe(registry, "its address cannot be read") from error
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.password:
        raise _make_unsafe(registry, "its address is no plain http or https URL")
    return url


def _is_loopback(host: str) -> bool:
    # A name is not believed: only what needs no look-up is loopback for certain.
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def _make_unsafe(registry: str, why: str) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_UNSAFE_REALM,
        f"{registry} names a token server that a password must not be sent to",
        evidence=why,
    )
