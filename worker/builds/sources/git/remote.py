"""Repositories at git servers: the checked addresses of their hosts, and the logins for them.

The address is looked up once, checked, and pinned for git too.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from shared.errors import RegistryError, SourceError
from shared.faults import FaultCode
from shared.networks import RegistryNetworks
from worker.oci.transport.address import SystemResolver, are_loopback, resolve
from worker.oci.transport.errors import make_connection_error

DNS = timedelta(seconds=5)
ANSWER_SECONDS = 30
DEFAULT_USERNAME = "x-access-token"
"""The username of a token without a given one; GitHub, GitLab and Gitea accept any."""

_REMEDIES = {
    FaultCode.DNS_NOT_FOUND: "Check the repository's URL, and that this server's DNS knows it.",
    FaultCode.DNS_FAILURE: "This server's DNS resolver does not answer; check resolv.conf.",
    FaultCode.TLS_UNKNOWN_CA: "Add the git server's CA to this server's trusted certificates.",
    FaultCode.TLS_EXPIRED: "Renew the git server's certificate, or correct this server's clock.",
    FaultCode.TLS_NAME_MISMATCH: "Use one of the names that the certificate is valid for.",
    FaultCode.TLS_NOT_OFFERED: "The git server answers in plain HTTP. Use an http:// URL.",
}


class GitRemote(Protocol):
    """A repository as git opens it.

    ``url`` is for messages, ``git_url`` for git, which gets the settings and the environment too.
    """

    @property
    def url(self) -> str: ...

    @property
    def git_url(self) -> str: ...

    @property
    def git_settings(self) -> Mapping[str, str]: ...

    @property
    def git_environment(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Remote:
    """A repository's URL without login, the checked addresses of its host, and the login for it."""

    url: str
    addresses: tuple[str, ...]
    authorization: SecretStr | None = None

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def hostname(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def git_url(self) -> str:
        return self.url

    @property
    def git_settings(self) -> Mapping[str, str]:
        """Return the settings that make git use the checked addresses and the login."""
        settings = {}
        if self.hostname not in self.addresses:
            addresses = ",".join(f"[{one}]" if ":" in one else one for one in self.addresses)
            settings["http.curloptResolve"] = f"{self.hostname}:{self.port}:{addresses}"
        if self.authorization is not None:
            header = f"Authorization: {self.authorization.get_secret_value()}"
            settings[f"http.{self.url}.extraHeader"] = header
        return settings

    @property
    def git_environment(self) -> Mapping[str, str]:
        return {"GIT_ALLOW_PROTOCOL": "http:https"}


async def open_remote(
    url: str, username: str, token: SecretStr | None, networks: RegistryNetworks
) -> Remote:
    """Check a repository's URL and resolve its host.

    Raises:
        SourceError: ``source_invalid``, the URL is not a plain one of http or https, or the token
            would be sent in clear over the network; ``dns_not_found``, ``dns_failure``.
        RefusedNetworkError: the host has an address that is not allowed here.
    """
    clean = _parse_url(url)
    hostname = urlsplit(clean).hostname or ""
    addresses = await resolve_host(hostname, networks)
    if token is None:
        return Remote(clean, addresses)
    if clean.startswith("http://") and not are_loopback(addresses):
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"the token for {hostname} would be sent without TLS",
            remedy="Give the repository's https:// URL.",
        )
    login = f"{username or DEFAULT_USERNAME}:{token.get_secret_value()}".encode()
    return Remote(clean, addresses, SecretStr(f"Basic {base64.b64encode(login).decode()}"))


async def resolve_host(hostname: str, networks: RegistryNetworks) -> tuple[str, ...]:
    """Resolve a git server's host and check its addresses.

    Raises:
        SourceError: ``dns_not_found``, ``dns_failure``.
        RefusedNetworkError: the host has an address that is not allowed here.
    """
    try:
        return await resolve(hostname, networks, SystemResolver(), DNS)
    except RegistryError as error:
        raise _as_source_error(error) from error


def make_unreachable_error(error: BaseException, where: str) -> SourceError:
    """Make the error of a failed connection to a git server."""
    return _as_source_error(make_connection_error(error, where))


def _parse_url(url: str) -> str:
    """Check the URL and return it without a slash or a query at its end."""
    try:
        parts = urlsplit(url.strip())
        is_good = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable() or " " in url.strip():
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            "the repository's URL is not https://host/path",
            remedy="Give the https:// URL.",
        )
    if "@" in parts.netloc:
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"the URL of the repository at {parts.hostname} holds a login",
            remedy="Give username and token in separate fields.",
        )
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def _as_source_error(error: RegistryError) -> SourceError:
    """Convert a diagnosis of `worker.oci`, whose remedies are for registries."""
    code = FaultCode(error.code)
    known = code if code in _REMEDIES else FaultCode.SOURCE_UNREACHABLE
    return SourceError(known, error.message, remedy=_REMEDIES.get(code, ""))
