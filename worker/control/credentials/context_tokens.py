"""One-time tokens with which a server downloads the uploaded context of its attempt."""

import hashlib
import secrets

from pydantic import SecretStr

from shared.database import Connection
from shared.jobs.commands import ImageBuild, Kind, parse_command
from shared.jobs.sources import UploadSource
from shared.jobs.store.release import Released

STORE = """
INSERT INTO context_token (job_id, attempt, context_id, token_hash) VALUES (%s, %s, %s, %s)
"""


def make_token(job: Released) -> SecretStr | None:
    """Make a token for this attempt; ``None`` if it does not build an upload.

    Raises:
        ValueError: the stored command cannot be read.
    """
    return SecretStr(secrets.token_urlsafe(32)) if _context_id(job) else None


async def store_token(connection: Connection, job: Released, token: SecretStr) -> None:
    """Store the token's hash for the API; 256 random bits need no salt and no stretching."""
    token_hash = hashlib.sha256(token.get_secret_value().encode()).digest()
    await connection.execute(STORE, (job.job_id, job.attempt, _context_id(job), token_hash))


def _context_id(job: Released) -> str | None:
    if job.kind != Kind.IMAGE_BUILD:
        return None
    match parse_command(job.kind, job.command):
        case ImageBuild(source=UploadSource(context_id=context_id)):
            return context_id
        case _:
            return None
