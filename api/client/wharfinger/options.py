"""Where the API is, and how the client calls it."""

import os
import ssl
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx2

from wharfinger.errors import ApiError
from wharfinger.retries import Retries

DEFAULT_URL = "http://127.0.0.1:4747"


def warn(text: str) -> None:
    """Show a warning of the API as a warning of Python."""
    warnings.warn(text, UserWarning, stacklevel=2)


@dataclass(frozen=True)
class Options:
    """The options of a client.

    ``ca_file`` holds the certificates to trust in PEM; by default those of the system, or of
    ``SSL_CERT_FILE``. ``read_timeout`` has to be longer than the API waits for a job.
    ``on_warning`` gets the API's warnings about fields without effect.
    """

    ca_file: Path | None = None
    connect_timeout: timedelta = timedelta(seconds=10)
    read_timeout: timedelta = timedelta(seconds=60)
    retries: Retries = field(default_factory=Retries)
    on_warning: Callable[[str], None] = warn

    @property
    def tls_context(self) -> ssl.SSLContext:
        """Return the trusted certificates."""
        if self.ca_file is None:
            return httpx2.create_ssl_context()
        return ssl.create_default_context(cafile=self.ca_file)

    @property
    def timeout(self) -> httpx2.Timeout:
        """Return the time limits of one request."""
        seconds = self.read_timeout.total_seconds()
        return httpx2.Timeout(seconds, connect=self.connect_timeout.total_seconds())


def choose_url(given: str | None) -> str:
    """Return the given URL, or that of ``WHARF_URL``, without ``/api`` at its end.

    Raises:
        ApiError: it is no URL of HTTP, or it contains a login.
    """
    url = (given or os.environ.get("WHARF_URL") or DEFAULT_URL).strip().rstrip("/")
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.userinfo or parts.scheme not in {"http", "https"} or not parts.host:
        found = "contains a login" if parts.userinfo else "is not http:// or https:// and a host"
        raise ApiError(
            f"the URL of the API {found}",
            code="bad_url",
            remedy="Give it as https://host[:port], for example in WHARF_URL.",
        )
    return url.removesuffix("/api")


def choose_key(given: str | None) -> str:
    """Return the given key, or that of ``WHARF_API_KEY`` or of the file ``WHARF_API_KEY_FILE``.

    Raises:
        ApiError: there is none, its file cannot be read, or it cannot be sent.
    """
    file = os.environ.get("WHARF_API_KEY_FILE")
    key = given or os.environ.get("WHARF_API_KEY") or (_read(file) if file else "")
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        found = "the API key has a character that no key has" if key else "there is no API key"
        raise ApiError(found, code="no_api_key", remedy="Set api_key, or WHARF_API_KEY.")
    return key


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ApiError(
            f"{file}, the file of WHARF_API_KEY_FILE, cannot be read: {error.strerror}",
            code="no_api_key",
        ) from error
