"""``Idempotency-Key``: a request repeated within 24 hours has the same job and the same answer.

A key belongs to one API key and, in a batch, to one position. The job's id is stored with it. A
repetition submits the same id: if that job exists, nothing changes. So it is safe while the first
request waits, and after its process died. The answer is stored when it exists, also that of a
failed job. A request that was refused before its job was stored may be corrected and sent again.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import BaseModel
from starlette.requests import Request

from api.errors import IdempotencyMismatchError
from api.procedure.auth import HEADER as API_KEY_HEADER
from api.procedure.context import Context
from shared.database import Pool
from shared.errors import FailedJobError, InvalidInputError
from shared.faults import Fault

HEADER = "idempotency-key"
MAX_CHARACTERS = 255
VISIBLE = re.compile(r"[\x21-\x7e]+( +[\x21-\x7e]+)*")

BEGIN = """
WITH proven AS MATERIALIZED (SELECT set_config('wharf.proof', %(proof)s, true)), begun AS (
  INSERT INTO idempotency (actor_id, key, position, organization_id, request_hash, job_id)
  SELECT %(actor_id)s, %(key)s, %(position)s, %(organization_id)s, %(request_hash)s, %(job_id)s
    FROM proven
  ON CONFLICT (actor_id, key, position) DO UPDATE
    SET request_hash = excluded.request_hash, job_id = excluded.job_id, answer = NULL,
        created_at = now()
    WHERE idempotency.created_at < now() - interval '24 hours'
  RETURNING request_hash, job_id, answer
)
SELECT * FROM begun
UNION ALL
SELECT request_hash, job_id, answer FROM idempotency
 WHERE actor_id = %(actor_id)s AND key = %(key)s AND position = %(position)s
   AND NOT EXISTS (SELECT FROM begun)
"""
STORE_ANSWER = """
WITH proven AS MATERIALIZED (SELECT set_config('wharf.proof', %(proof)s, true))
UPDATE idempotency SET answer = coalesce(answer, %(answer)s) FROM proven
 WHERE actor_id = %(actor_id)s AND key = %(key)s AND position = %(position)s
   AND request_hash = %(request_hash)s
RETURNING answer
"""


@dataclass(frozen=True)
class Repeatable:
    """One call under a key; ``secret`` is the API key itself, which is stored nowhere."""

    key: str
    position: int
    secret: str

    def hash(self, procedure: str, raw: object) -> bytes:
        """Return a hash that identifies this request and reveals nothing of its content.

        The request may hold a password: without the API key no guesses can be tried on the hash.
        """
        canonical = json.dumps([procedure, raw], sort_keys=True, default=repr)
        return hmac.digest(self.secret.encode(), canonical.encode(), hashlib.sha256)


class _StoredAnswer(BaseModel):
    """A stored answer: its JSON (``shown``), or the job's ``fault``."""

    shown: str | None = None
    fault: Fault | None = None
    job_id: str = ""

    def open(self) -> bytes:
        if self.fault is not None:
            raise FailedJobError(self.fault, job_id=self.job_id)
        return (self.shown or "").encode()


@dataclass(frozen=True)
class _StoredRequest:
    """The row of a key, stored by this request or by an earlier one."""

    request_hash: bytes
    job_id: str
    answer: dict[str, Any] | None


def read_key(request: Request, position: int) -> Repeatable | None:
    """Return the request's key, for the call at this position of its batch.

    A quoted key (RFC 9651, section 3.3.3) equals the key without quotes.

    Raises:
        InvalidInputError: given twice, empty, over 255 characters, or not visible ASCII.
    """
    keys = request.headers.getlist(HEADER)
    if not keys:
        return None
    key = keys[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(keys) > 1 or len(key) > MAX_CHARACTERS or not VISIBLE.fullmatch(key):
        raise InvalidInputError(
            f"Idempotency-Key must be one key of 1 to {MAX_CHARACTERS} visible ASCII characters"
        )
    return Repeatable(key, position, request.headers.get(API_KEY_HEADER, ""))


async def answer_once(
    context: Context,
    repeatable: Repeatable,
    request_hash: bytes,
    run: Callable[[Context], Awaitable[tuple[bytes, bool]]],
) -> tuple[bytes, bool]:
    """Return the stored answer or that of ``run``, and whether it only accepts the job.

    Raises:
        IdempotencyMismatchError: the key was used for another request.
        FailedJobError: the job failed, in this request or an earlier one.
    """
    values: dict[str, object] = {
        "actor_id": context.caller.actor_id,
        "key": repeatable.key,
        "position": repeatable.position,
        "organization_id": context.organization_id,
        "request_hash": request_hash,
        "job_id": context.job_id,
        "proof": context.caller.proof,
    }
    begun = _StoredRequest(**await insert_or_read(context.resources.pool, BEGIN, values))
    if begun.request_hash != request_hash:
        raise IdempotencyMismatchError(
            "this Idempotency-Key was used for another request",
            remedy="Use a new key for each new request.",
        )
    if begun.answer is not None:
        return _StoredAnswer.model_validate(begun.answer).open(), False
    try:
        shown, is_accepted = await run(replace(context, job_id=begun.job_id, outlives=True))
    except FailedJobError as error:
        answer = _StoredAnswer(fault=error.ended, job_id=error.job_id)
    else:
        if is_accepted:
            # A repetition may wait for the job and receive its result.
            return shown, True
        answer = _StoredAnswer(shown=shown.decode())
    return (await _store(context, values, answer)).open(), False


async def insert_or_read(pool: Pool, statement: str, values: dict[str, object]) -> dict[str, Any]:
    """Return the row that ``statement`` inserts, or reads if it was stored before."""
    while True:
        async with pool.connection() as connection:
            row = await (await connection.execute(statement, values)).fetchone()
        if row is not None:
            return row
        # A concurrent request stored the row: the next try reads it.


async def _store(
    context: Context, values: dict[str, object], answer: _StoredAnswer
) -> _StoredAnswer:
    """Store the answer and return it; of two concurrent requests, the first one's."""
    document = Jsonb(answer.model_dump(mode="json", exclude_none=True))
    async with context.resources.pool.connection() as connection:
        row = await (
            await connection.execute(STORE_ANSWER, {**values, "answer": document})
        ).fetchone()
    return _StoredAnswer.model_validate(row["answer"]) if row is not None else answer
