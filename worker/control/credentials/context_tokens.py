"""One-time tokens: with one, a server fetches the uploaded context of the attempt that it runs."""

import hashlib
import secrets

from pydantic import SecretStr

from shared.database import Connection
from shared.jobs.commands import ImageBuild, Kind, UploadSource, parse_command
from shared.jobs.store.release import Released

KEEP = """
INSERT INTO context_token (job_id, attempt, context_id, token_hash) VALUES (%s, %s, %s, %s)
"""


def make_token(job: Released) -> SecretStr | None:
    """A token for this attempt; ``None`` where it builds from no upload.

    Raises:
        ValueError: the stored command cannot be read.
    """
    return SecretStr(secrets.token_urlsafe(32)) if _context_id(job) else None


async def keep_token(connection: Connection, job: Released, token: SecretStr) -> None:
    """Store what the API knows it by: 256 random bits need no salt and no stretching."""
    token_hash = hashlib.sha256(token.get_secret_value().encode()).digest()
    await connection.execute(KEEP, (job.job_id, job.attempt, _context_id(job), token_hash))


def _context_id(job: Released) -> str | None:
    if job.kind != Kind.IMAGE_BUILD:
        return None
    match parse_command(job.kind, job.command):
        case ImageBuild(source=UploadSource(context_id=context_id)):
            return context_id
        case _:
            return None
