"""The form of a registry's response: error codes, headers, and the pause that it asks for."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import BaseModel, ValidationError

from worker.oci.transport.http import Response
from worker.oci.transport.messages import classify

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,39}")


class _OciError(BaseModel):
    code: str = ""


class _OciErrors(BaseModel):
    errors: list[_OciError] = []


def parse_error_codes(response: Response) -> tuple[str, ...]:
    """Return the codes of an OCI error body, in order; none if there is no such body."""
    try:
        parsed = _OciErrors.model_validate(response.json())
    except ValidationError:
        return ()
    return tuple(error.code for error in parsed.errors if _CODE.fullmatch(error.code))


def is_registry(response: Response) -> bool | None:
    """Return whether a success of ``/v2/`` is a registry's; ``None`` if it may be anyone's.

    Most registries send a header of their own; the specification requires only the status.
    """
    if response.is_html:
        return False
    if has_registry_header(response):
        return True
    return None if response.json() == {} or not response.body.strip() else False


def has_registry_header(response: Response) -> bool:
    return "Docker-Distribution-Api-Version" in response.headers


def is_registrys(response: Response) -> bool:
    """Return whether a response below ``/v2/`` shows by its form that a registry made it."""
    content = response.json()
    is_list = isinstance(content, dict) and bool({"tags", "repositories"} & set(content))
    return has_registry_header(response) or bool(parse_error_codes(response)) or is_list


def has_words(response: Response) -> bool:
    """Return whether the words of a refusal alone tell its cause."""
    return response.status >= 400 and bool(
        classify(response.body, response.url, is_page=response.is_html)
    )


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait, from 0 to a day (RFC 9110, section 10.2.3).

    Nothing waits here: `shared.faults` says which codes are retried, and the function
    ``worker_v1.finish`` queues the job again after at least this pause, up to an hour.
    """
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), 86_400.0)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), 86_400.0)
