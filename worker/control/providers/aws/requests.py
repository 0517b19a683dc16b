"""Signed requests to AWS, and errors for its refusals."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shared.errors import RegistryError
from shared.faults import FaultCode
from worker.control.providers.aws.endpoints import Service
from worker.control.providers.aws.signature import Keys, Message, sign
from worker.control.providers.provider import HttpClient, Secrets, provider_time
from worker.oci.transport.http import Response
from worker.oci.transport.shape import parse_retry_after

TOLERATED_SKEW = timedelta(minutes=2)
"""AWS accepts signatures of clocks that differ by at most five minutes."""

REFUSED = frozenset(
    {
        *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"),
        *("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"),
        *("ExpiredToken", "ExpiredTokenException", "AuthFailure", "InvalidIdentityToken"),
        *("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
        *("IDPRejectedClaim", "InvalidToken"),
    }
)
"""The keys are wrong, removed, disabled or expired; no other words of AWS are shown then, because
they may repeat parts of the request."""

THROTTLED = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded"),
        *("TooManyRequestsException", "RequestThrottled", "RequestThrottledException"),
    }
)
_CODE = re.compile("[A-Za-z][A-Za-z0-9.]{1,63}")


@dataclass(frozen=True)
class Answer:
    """A success, and the time at AWS when it was sent."""

    response: Response = field(repr=False)
    sent_at: datetime


async def send(
    client: HttpClient,
    service: Service,
    message: Message,
    keys: Keys,
    now: datetime,
    *,
    purpose: str,
    accepted: str = "",
) -> Answer:
    """Send a signed request; if our clock is wrong, sign it again by AWS's own time.

    ``purpose`` names in messages what it is for: ``get a login for HOST``. ``accepted`` is the code
    of an error that is a success here.

    Raises:
        RegistryError: AWS refuses, or cannot be reached.
    """
    signed = sign(service.url, message, keys, service.scope, now)
    response = await client.post(service.url, signed, message.content)
    there = provider_time(response, now)
    if response.status in {400, 401, 403} and abs(there - now) > TOLERATED_SKEW:
        signed = sign(service.url, message, keys, service.scope, there)
        response = await client.post(service.url, signed, message.content)
    if not accepted or parse_error(response)[0] != accepted:
        require_success(response, keys.label, purpose, Secrets(keys.secrets))
    return Answer(response, provider_time(response, now))


def require_success(response: Response, label: str, purpose: str, secrets: Secrets) -> None:
    """Raise the `RegistryError` for a response that is no success.

    ``label`` names in messages whose request it was.
    """
    if response.status == 200:
        return
    code, message = parse_error(response)
    evidence = f"HTTP {response.status}{f', {code}' if code else ''}"
    if code in THROTTLED or response.status == 429:
        raise RegistryError(
            FaultCode.RATE_LIMITED,
            f"AWS limits the requests of {label}",
            remedy="Nothing is to be done: wharf control asks again.",
            evidence=evidence,
            retry_after_seconds=parse_retry_after(response.headers, datetime.now(UTC)),
        )
    if code in REFUSED:
        raise RegistryError(
            FaultCode.CREDENTIAL_REFUSED, f"AWS does not accept {label}", evidence=evidence
        )
    if response.status >= 500 or not code:
        raise RegistryError(
            FaultCode.REGISTRY_ERROR,
            f"AWS failed to {purpose}",
            remedy="See the status page of AWS for this region.",
            evidence=evidence,
        )
    raise RegistryError(
        FaultCode.CREDENTIAL_DENIED,
        f"AWS does not allow {label} to {purpose}: {code}: {secrets.mask(message)}",
        evidence=evidence,
    )


def parse_error(response: Response) -> tuple[str, str]:
    """Return code and message of an error in AWS's JSON or XML; empty if there are none."""
    document = response.json()
    if isinstance(document, dict):
        kind = str(document.get("__type") or document.get("code") or "")
        code = kind.rpartition("#")[2].partition(":")[0]
        message = str(document.get("message") or document.get("Message") or "")
    else:
        code, message = find_element(response, "Code"), find_element(response, "Message")
    return (code if _CODE.fullmatch(code) else ""), message


def find_element(response: Response, name: str) -> str:
    """Return the text of an element in an XML answer; empty if it is missing.

    The values that are read here contain no characters that XML escapes.
    """
    text = response.body.decode(errors="replace")
    found = re.search(rf"<{name}>([^<&]*)</{name}>", text)
    return found[1].strip() if found else ""
