"""Record each attempt to sign in: in the log, in the metrics, and refused ones in the audit log.

The log has the first characters of the address's SHA-256 and not the address, as people also type
their password there.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import psycopg
import structlog

from api.errors import CodeNeededError, TooManyFailuresError, WrongSignInError
from api.procedure.context import Resources
from shared.errors import ForbiddenError, InvalidInputError

Method = Literal["password", "invitation", "reset", "provider"]
Outcome = Literal["succeeded", "refused", "code_needed", "limited", "failed"]
HASH_CHARACTERS = 12

REFUSED = "SELECT sign_in_refused(%s, %s, %s)"
NOT_AWAITED = "SET LOCAL synchronous_commit TO off"
"""Otherwise the time of a refusal would tell whether there is such an account."""

log = structlog.get_logger()


@dataclass
class Attempt:
    """An attempt; the address of the person may become known in its course."""

    email: str


@asynccontextmanager
async def recorded(
    resources: Resources, method: Method, email: str, address: str
) -> AsyncIterator[Attempt]:
    """Record how the block ends: well, refused, or for want of a code or of patience."""
    attempt = Attempt(email)
    try:
        yield attempt
    except CodeNeededError:
        _count(resources, method, "code_needed", attempt.email, address)
        raise
    except (WrongSignInError, InvalidInputError, ForbiddenError):
        _count(resources, method, "refused", attempt.email, address)
        await _audit(resources, method, attempt.email, address)
        raise
    except TooManyFailuresError:
        _count(resources, method, "limited", attempt.email, address)
        raise
    except BaseException:
        _count(resources, method, "failed", attempt.email, address)
        raise
    _count(resources, method, "succeeded", attempt.email, address)


def _count(
    resources: Resources, method: Method, outcome: Outcome, email: str, address: str
) -> None:
    resources.sign_in_counts[method, outcome] += 1
    hashed = hashlib.sha256(email.encode()).hexdigest()[:HASH_CHARACTERS] if email else None
    log.info("sign_in", method=method, outcome=outcome, email_hash=hashed, address=address)


async def _audit(resources: Resources, method: Method, email: str, address: str) -> None:
    """Record a refusal; the person gets the reason of it also if this fails."""
    try:
        async with resources.pool.connection() as connection, connection.transaction():
            await connection.execute(NOT_AWAITED)
            await connection.execute(REFUSED, (email, address, method))
    except psycopg.Error as error:
        log.warning("sign_in_not_recorded", error=type(error).__name__)
