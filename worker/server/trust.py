"""The internal CA that this server pins: it verifies the API, the database and the broker by it."""

import ssl
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpx2

from shared.errors import SetupError
from shared.networks import is_loopback
from shared.tls import fingerprint_of, write_certificate
from worker.server.identity import Enrolment, StateDirectory

CA = "/ca.pem"
MAX_CA_BYTES = 64 * 1024
CA_REMEDY = (
    "Take WHARF_URL and WHARF_CA_SHA256 from one join command: wharf server create NAME --renew."
)


def require_authority(state: StateDirectory, url: str | None, pin: str | None) -> Path | None:
    """Return the file of the CA that this server trusts; ``None``: those of the system.

    With a pin that the stored CA does not have, the CA is fetched from the API and stored. A server
    with a pin or a stored CA uses no address of the API without TLS.

    Raises:
        SetupError: the API has no TLS, cannot be reached, or has another CA.
    """
    stored = state.ca_file
    if url is not None and (pin is not None or stored is not None):
        _require_tls(url)
    if pin is None or (stored is not None and _has_fingerprint(stored, pin)):
        return stored
    if url is None:
        raise SetupError(
            "the address of the API is not known, so its CA cannot be fetched",
            remedy="Set WHARF_URL beside WHARF_CA_SHA256.",
        )
    return state.save_ca(fetch_authority(url, pin))


def fetch_authority(url: str, pin: str) -> str:
    """Return the certificate of the API's CA, in PEM, if its SHA-256 is ``pin``.

    The connection is trusted for nothing else: no token and no password is sent over it.

    Raises:
        SetupError: the API has another CA, none, or cannot be reached.
    """
    text = _download(url.rstrip("/") + CA)
    try:
        found, certificate = fingerprint_of(text), write_certificate(text)
    except ValueError as error:
        raise SetupError(f"{url} has no certificate of a CA", remedy=CA_REMEDY) from error
    if found != pin:
        raise SetupError(
            f"ca_mismatch: the CA of {url} has the SHA-256 {found}, and WHARF_CA_SHA256 is {pin}",
            remedy="Another machine may answer in place of the API: this server did not join. "
            f"If the CA was replaced, use the new pin. {CA_REMEDY}",
        )
    return certificate


def secure(enrolment: Enrolment) -> Enrolment:
    """Return the enrolment with verified TLS to database and broker, but for loopback addresses."""
    broker = enrolment.broker_url
    return enrolment.model_copy(
        update={
            "database_url": _verify_in_full(enrolment.database_url),
            "broker_url": broker and _encrypt(broker),
        }
    )


def verified_broker_url(url: str, ca_file: Path | None) -> str:
    """Return the URL with which Celery and redis-py verify the broker by the pinned CA.

    With a CA it has TLS, but for loopback addresses.
    """
    if ca_file is None:
        return url
    url = _encrypt(url)
    if urlsplit(url).scheme != "rediss":
        return url
    separator = "&" if urlsplit(url).query else "?"
    return f"{url}{separator}ssl_cert_reqs=required&ssl_ca_certs={quote(str(ca_file), safe='')}"


def _require_tls(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise SetupError(
            f"{url} has no TLS, and this server pins a CA",
            remedy="Set WHARF_URL to the https:// address of the API, or, to join without TLS, "
            "unset WHARF_CA_SHA256 and remove ca.pem from the state directory.",
        )


def _has_fingerprint(file: Path, pin: str) -> bool:
    try:
        return fingerprint_of(file.read_text()) == pin
    except ValueError:
        return False


def _verify_in_full(url: str) -> str:
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return url
    query = dict(parse_qsl(parts.query)) | {"sslmode": "verify-full"}
    return urlunsplit(parts._replace(query=urlencode(query)))


def _encrypt(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "redis" or is_loopback(parts.hostname or ""):
        return url
    return urlunsplit(parts._replace(scheme="rediss"))


def _download(url: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin verifies what is fetched
    try:
        with httpx2.stream("GET", url, timeout=10, verify=context) as answer:
            received = b""
            for chunk in answer.iter_raw():
                received += chunk
                if len(received) > MAX_CA_BYTES:
                    break
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SetupError(f"cannot reach {url}: {error}") from error
    if not answer.is_success:
        raise SetupError(
            f"{url} answers with status {answer.status_code}",
            remedy="Set WHARF_CA_CERTIFICATE for the API, or unset WHARF_CA_SHA256 here.",
        )
    return received.decode(errors="replace")
