"""Call the API: one procedure, one answer, or sentences with the cause of a failure."""

import ssl
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.cli.output.text import write_note
from api.cli.settings import ClientSettings
from shared.errors import SetupError
from shared.tls import tls_context

PATIENCE = timedelta(seconds=40)
"""Longer than the API's own wait for a job."""


class _Warning(BaseModel):
    field: str
    message: str = ""


_WARNINGS = TypeAdapter(list[_Warning])


class _Cause(BaseModel):
    remedy: str | None = None


class _Data(BaseModel):
    cause: _Cause | None = None


class _Issue(BaseModel):
    path: list[str | int] = []
    message: str = ""

    def __str__(self) -> str:
        where = ".".join(str(part) for part in self.path)
        return f"{where}: {self.message}" if where else self.message


class _Refusal(BaseModel):
    message: str
    data: _Data = _Data()
    issues: list[_Issue] = []

    @property
    def sentence(self) -> str:
        """Return the message; with each issue of an input that was refused."""
        issues = "; ".join(str(issue) for issue in self.issues)
        return f"{self.message}: {issues}" if issues else self.message


def call(
    settings: ClientSettings,
    procedure: str,
    body: Mapping[str, object] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Call a procedure and return its answer; its warnings go to standard error.

    Raises:
        SetupError: the API does not answer, or it refused, with its message and remedy.
    """
    return _send(
        settings,
        f"api/trpc/{procedure}",
        {"json": dict(body or {})},
        headers or {},
        PATIENCE.total_seconds(),
    )


def upload(
    settings: ClientSettings, procedure: str, parameters: Mapping[str, str], path: Path
) -> Any:
    """Send a file, or standard input for ``-``, to a procedure and return its answer.

    Raises:
        SetupError: the file cannot be read, or as `call`.
    """
    content_type = {"content-type": "application/octet-stream"}
    try:
        with sys.stdin.buffer if path == Path("-") else path.open("rb") as file:
            request = {"content": file, "params": dict(parameters)}
            return _send(settings, f"api/{procedure}", request, content_type, None)
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from None


def _send(
    settings: ClientSettings,
    path: str,
    request: Mapping[str, Any],
    headers: Mapping[str, str],
    timeout_seconds: float | None,
) -> Any:
    try:
        answer = httpx2.post(
            f"{base_url(settings)}/{path}",
            **request,
            headers={**headers_of(settings), **headers},
            timeout=timeout_seconds,
            verify=tls_context(),
        )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise connection_error(settings.url, error) from error
    if not answer.is_success:
        raise _refusal(settings.url, answer)
    try:
        shown = answer.json()
    except ValueError as error:
        raise _not_the_api(settings.url, answer) from error
    for warning in _WARNINGS.validate_json(answer.headers.get("x-wharf-warnings", "[]")):
        write_note(f"warning: {warning.message or warning.field}")
    return shown


def base_url(settings: ClientSettings) -> str:
    """Return the API's URL without ``/api`` at its end, which `wharf up` prints.

    Raises:
        SetupError: the URL has no scheme.
    """
    url = settings.url.strip().rstrip("/")
    if not url.lower().startswith(("http://", "https://")):
        raise SetupError(
            f"WHARF_URL {url} has no scheme", remedy="Begin it with http:// or https://."
        )
    return url.removesuffix("/api")


def connection_error(url: str, error: Exception) -> SetupError:
    """Return the error of a request without an answer, with its cause."""
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    text = " ".join(str(cause) for cause in causes)
    if isinstance(tls, ssl.SSLCertVerificationError):
        found = f"the certificate of {url} is not accepted: {tls.verify_message}"
        return SetupError(found, remedy="Add its CA to this machine, or set SSL_CERT_FILE.")
    if tls is not None:
        found = f"{url} does not answer with TLS on this port"
        remedy = "Check the port. Give http:// only in a private network: the key is not encrypted."
        return SetupError(found, remedy=remedy)
    if isinstance(error, httpx2.TimeoutException):
        found = f"{url} did not answer within {PATIENCE.total_seconds():g} s"
    elif any(isinstance(cause, ConnectionRefusedError) for cause in causes) or "refused" in text:
        found = f"nothing listens at {url}"
    elif isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        found = f"WHARF_URL {url} is not a URL"
    elif isinstance(error, httpx2.RemoteProtocolError):
        found = f"{url} does not answer with plain HTTP"
        return SetupError(found, remedy="Try WHARF_URL with https://.")
    else:
        found = f"{url} cannot be reached: {text or type(error).__name__}"
    return SetupError(found, remedy="Check WHARF_URL, and that the API runs.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def headers_of(settings: ClientSettings) -> dict[str, str]:
    """Return the headers that each request needs.

    Raises:
        SetupError: there is no key.
    """
    if settings.api_key is None:
        raise SetupError("there is no API key", remedy="Set WHARF_API_KEY, or run wharf login.")
    return {"x-api-key": settings.api_key.get_secret_value()}


def _refusal(url: str, answer: httpx2.Response) -> SetupError:
    try:
        refusal = _Refusal.model_validate_json(answer.content)
    except ValidationError:
        return _not_the_api(url, answer)
    cause = refusal.data.cause or _Cause()
    return SetupError(refusal.sentence, remedy=cause.remedy or "")


def _not_the_api(url: str, answer: httpx2.Response) -> SetupError:
    return SetupError(
        f"{url} is not Wharfinger's API: it answers with status {answer.status_code} and no "
        "document of the API",
        remedy="Check WHARF_URL.",
    )
