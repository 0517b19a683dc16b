"""Decide to which token servers a registry may send a password."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.oci.auth.challenge import Challenge, parse_challenges
from worker.oci.transport.route import Route, find_origin

KNOWN_REALM_HOSTS = {"docker.io": "auth.docker.io"}
"""Token servers on another host that belong to their registry (Docker's "Token Authentication")."""

_REALM = re.compile(r"\brealm[ \t]*=", re.IGNORECASE)


@dataclass(frozen=True)
class Realm:
    """A token server named by a challenge; ``is_foreign`` if it is on an unknown other host."""

    url: URL
    service: str
    is_foreign: bool


def parse_realm(challenge: Challenge, registry: str, route: Route) -> Realm:
    """Return the token server that a Bearer challenge of ``registry`` names.

    ``route`` is how the registry was reached. HTTPS is required if the registry speaks it. A
    registry without TLS may only name its own origin: scheme, host and port. Addresses are checked
    when the token server is connected to.

    Raises:
        RegistryError: ``auth_unsafe_realm``.
    """
    url = _parse_url(challenge.parameters.get("realm", ""), registry)
    if route.context is None and find_origin(url) != route.origin:
        raise _make_unsafe(registry, f"{find_origin(url)} is not {route.origin}")
    if route.context is not None and url.scheme != "https":
        raise _make_unsafe(registry, f"{url.scheme}://{url.host} is not HTTPS")
    known = route.hostname == url.raw_host or url.host == KNOWN_REALM_HOSTS.get(registry)
    return Realm(url, challenge.parameters.get("service", ""), is_foreign=not known)


def require_unambiguous(values: Iterable[str], registry: str) -> list[Challenge]:
    """Return the challenges that name a token server, if every client reads them alike.

    Raises:
        RegistryError: ``auth_unsafe_realm``, an Engine may use another address than we do.
    """
    headers = list(values)
    challenges = [one for one in parse_challenges(headers) if "realm" in one.parameters]
    if sum(len(_REALM.findall(header)) for header in headers) > len(challenges):
        raise _make_unsafe(registry, "its challenge is ambiguous")
    return [one for one in challenges if one.scheme == "bearer"]


def require_equal_verification(realm: Realm, reached: Route, registry: str, route: Route) -> None:
    """Raise `RegistryError` if the token server's TLS is verified less than the registry's."""
    if route.is_verified and not reached.is_verified:
        raise _make_unsafe(registry, f"the certificate of {realm.url.host} is not verified")


def _parse_url(text: str, registry: str) -> URL:
    try:
        url = URL(text)
    except ValueError as error:
        raise _make_unsafe(registry, "its address is malformed") from error
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.password:
        raise _make_unsafe(registry, "its address is not an http or https URL without a user")
    return url


def _make_unsafe(registry: str, evidence: str) -> RegistryError:
    return RegistryError(
        FaultCode.AUTH_UNSAFE_REALM,
        f"{registry} names a token server where the password would not be safe: {evidence}",
        evidence=evidence,
    )
