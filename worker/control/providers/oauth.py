"""Token endpoints of OAuth 2.0 (RFC 6749, sections 3.2 and 5), as Google and Azure have them.

The provider's own sentences are not shown: only its codes, which are words of a fixed form.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from pydantic import SecretStr

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.provider import Minted, require_object
from worker.oci.transport.http import Response
from worker.oci.transport.shape import parse_retry_after

FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
PASSING = frozenset({"temporarily_unavailable", "server_error", "UNAVAILABLE", "INTERNAL"})
"""Errors of a provider that may be over at the next try, whatever the status is."""

_CODE = re.compile("[a-z][a-z_]{2,39}|[A-Z][A-Z_]{2,39}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
"""The characters that a header may contain."""

FindRemedy = Callable[[tuple[str, ...]], str]


def make_form(fields: Mapping[str, str]) -> bytes:
    """Return the fields as the body of a POST request, in the form `FORM`."""
    return urlencode(fields).encode()


def make_json(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields).encode()


def require_granted(
    response: Response, subject: str, find_remedy: FindRemedy = lambda _: ""
) -> dict[str, Any]:
    """Return the content of a success.

    ``subject`` is what was requested of whom; ``find_remedy`` returns the remedy of a refusal by
    the provider's codes.

    Raises:
        RegistryError: ``credential_refused`` or ``credential_denied``, which are final;
            ``rate_limited`` or ``registry_error``, which are not.
    """
    codes = tuple(read_codes(response))
    if response.status == 200:
        return require_object(response, subject)
    if response.status == 429:
        raise _make_error(FaultCode.RATE_LIMITED, f"{subject} is requested too often", response)
    is_final = response.status in {400, 401, 403, 404} and codes and not PASSING & set(codes)
    if not is_final:
        raise _make_error(
            FaultCode.REGISTRY_ERROR,
            f"{subject} is not given now",
            response,
            *codes,
            remedy="See the provider's status page. Check that no proxy answers in its place.",
        )
    is_denied = response.status == 403
    raise _make_error(
        FaultCode.CREDENTIAL_DENIED if is_denied else FaultCode.CREDENTIAL_REFUSED,
        f"{subject} is refused: {', '.join(codes[:3])}",
        response,
        *codes,
        remedy=find_remedy(codes),
    )


def read_codes(response: Response) -> Iterator[str]:
    """Yield the codes in an error: OAuth's, Google's status, Azure's numbers as ``AADSTS700016``.

    A registry's own endpoint answers with a list of OCI error codes.
    """
    document = None if response.is_truncated else response.json()
    if not isinstance(document, dict):
        return
    error = document.get("error")
    found = [error.get("status")] if isinstance(error, dict) else [error]
    listed = document.get("errors")
    found += [one.get("code") for one in _list(listed) if isinstance(one, dict)]
    yield from (code for code in found if isinstance(code, str) and _CODE.fullmatch(code))
    numbers = _list(document.get("error_codes"))
    yield from (f"AADSTS{one}" for one in numbers if type(one) is int and 0 < one < 10**9)


def read_token(document: Mapping[str, Any], field: str, subject: str) -> SecretStr:
    """Return a token of an answer.

    Raises:
        RegistryError: ``registry_error``, there is none.
    """
    token = document.get(field)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"{subject} gave an answer without a token",
            remedy="Check that no proxy answers in its place.",
        )
    return SecretStr(token)


def make_minted(token: SecretStr, lifetime: timedelta | None, subject: str) -> Minted:
    """Return the token as a login.

    Raises:
        RegistryError: ``registry_error``, its lifetime is not known.
    """
    if lifetime is None:
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"{subject} gave a token without its lifetime",
            remedy="Check that no proxy answers in its place.",
        )
    return Minted(token, lifetime)


def _make_error(
    code: FaultCode, message: str, response: Response, *codes: str, remedy: str = ""
) -> RegistryError:
    return RegistryError(
        code,
        message,
        remedy=remedy,
        evidence=", ".join((f"HTTP {response.status}", *codes[:3])),
        retry_after_seconds=parse_retry_after(response.headers, datetime.now(UTC)),
    )


def _list(value: object) -> list[Any]:
    return value[:5] if isinstance(value, list) else []
