"""Enrol this server: present its token once, send its public key, keep every secret here."""

import hashlib
import secrets
import time
from datetime import timedelta
from pathlib import Path

import httpx2
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from shared.errors import SetupError
from shared.tls import tls_context
from worker.broker_users import hash_password
from worker.server.identity import Enrolment, StateDirectory, scram_verifier

ENROLL = "/api/server.enroll"
IS_REMOVED = "/api/server.isRemoved"
PATIENCE = timedelta(seconds=30)


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", hide_input_in_errors=True)

    server_id: str
    organization_id: str
    database_url: str | None = None
    broker_url: str | None = None


def enrol(state: StateDirectory, url: str, token: str) -> Enrolment:
    """Send the public key and the password verifiers to the API; no password is sent.

    The API is verified by the CA that the state directory has, else by those of the system.

    Raises:
        SetupError: the API cannot be reached, or refuses the token.
    """
    password = state.database_password().get_secret_value()
    proof = {
        "joinToken": token,
        "publicKey": str(state.public_key()),
        "roleVerifier": scram_verifier(password, secrets.token_bytes(16)),
        "brokerPasswordHash": hash_password(state.broker_password().get_secret_value()),
    }
    answer = _post(url.rstrip("/") + ENROLL, proof, state.ca_file)
    if answer.status_code != httpx2.codes.OK:
        raise SetupError(
            f"{url} refused to enrol this server: {_reason(answer)}",
            remedy="A join token works once and for 15 minutes. Create another one: "
            "wharf server create NAME --renew.",
        )
    kept = {"api_url": url, "token_hash": hash_token(token)}
    enrolment = _parse(answer).model_copy(update=kept)
    state.save_enrolment(enrolment)
    return enrolment


def hash_token(token: str) -> str:
    """Return the SHA-256 of a join token, as stored in the state directory, in hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_removed(enrolment: Enrolment, ca_file: Path | None = None) -> bool:
    """Ask the API whether this server was removed; return false if it does not answer."""
    if enrolment.api_url is None:
        return False
    try:
        answer = httpx2.get(
            enrolment.api_url.rstrip("/") + IS_REMOVED,
            params={"serverId": enrolment.server_id},
            timeout=10,
            verify=tls_context(ca_file),
        )
        return answer.is_success and answer.json() is True
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
        return False


def _post(url: str, body: dict[str, str], ca_file: Path | None) -> httpx2.Response:
    until = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            return httpx2.post(url, json=body, timeout=10, verify=tls_context(ca_file))
        except httpx2.ConnectError as error:
            if time.monotonic() > until:
                raise SetupError(f"cannot reach {url}: {error}") from error
            time.sleep(0.5)
        except httpx2.HTTPError as error:
            raise SetupError(f"cannot reach {url}: {type(error).__name__}") from error


def _parse(answer: httpx2.Response) -> Enrolment:
    try:
        body = _Answer.model_validate_json(answer.content)
    except ValidationError as error:
        raise SetupError(
            "WHARF_URL is not the address of Wharfinger's API",
            remedy="Set WHARF_URL to the address of `wharf api`.",
        ) from error
    if not body.database_url:
        raise SetupError(
            "the API did not report the address of the database",
            remedy="Set WHARF_SERVER_DATABASE_URL for the API.",
        )
    return Enrolment(
        server_id=body.server_id,
        organization_id=body.organization_id,
        database_url=body.database_url,
        broker_url=body.broker_url,
    )


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
