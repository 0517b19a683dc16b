"""Call the API: one procedure, one answer, or a sentence with the cause of a failure."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from api.cli.output import write_note
from shared.errors import SetupError
from shared.settings import Settings
from shared.tls import tls_context

PATIENCE = timedelta(seconds=40)
"""Longer than the API's own wait for a job."""


class ClientSettings(Settings):
    """The API's URL, and the key for its requests."""

    url: str = "http://127.0.0.1:4747"
    api_key: SecretStr | None = None


class _Warning(BaseModel):
    field: str
    message: str = ""


_WARNINGS = TypeAdapter(list[_Warning])


class _Cause(BaseModel):
    remedy: str | None = None


class _Data(BaseModel):
    cause: _Cause | None = None


class _Refusal(BaseModel):
    message: str
    data: _Data = _Data()


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
    all_headers = {**headers_of(settings), **(headers or {})}
    try:
        answer = httpx2.post(
            f"{settings.url.rstrip('/')}/api/trpc/{procedure}",
            json=dict(body or {}),
            headers=all_headers,
            timeout=PATIENCE.total_seconds(),
            verify=tls_context(),
        )
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise SetupError(
            f"{settings.url}: {type(error).__name__}",
            remedy="Check WHARF_URL, and that the API runs.",
        ) from error
    if not answer.is_success:
        raise _refusal(answer)
    for warning in _WARNINGS.validate_json(answer.headers.get("x-wharf-warnings", "[]")):
        write_note(f"warning: {warning.message or warning.field}")
    return answer.json()


def headers_of(settings: ClientSettings) -> dict[str, str]:
    """Return the headers that each request needs.

    Raises:
        SetupError: there is no key.
    """
    if settings.api_key is None:
        raise SetupError("there is no API key", remedy="Set WHARF_API_KEY.")
    return {"x-api-key": settings.api_key.get_secret_value()}


def _refusal(answer: httpx2.Response) -> SetupError:
    try:
        refusal = _Refusal.model_validate_json(answer.content)
    except ValidationError:
        remedy = "Check WHARF_URL: is this the API?"
        return SetupError(f"{answer.url}: status {answer.status_code}", remedy=remedy)
    cause = refusal.data.cause or _Cause()
    return SetupError(refusal.message, remedy=cause.remedy or "")
