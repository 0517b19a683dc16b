"""``auditLog.export``: the audit log with its hash chain, as `wharf audit verify` reads it."""

from typing import Annotated, Self

from pydantic import Field

from api.fields.shapes import Document, Input, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.audit.store import LogPage, read_page

MAX_PAGE = 1000


class AuditExportQuery(Input):
    """The next part of the log: the entries after this sequence number, 0 for the first part."""

    after_sequence: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class AuditChainEntry(Output):
    """An entry with its place in the chain.

    ``hash`` is the SHA-256 of the other fields as JSON with sorted keys, without spaces, in UTF-8.
    ``at`` is UTC with microseconds.
    """

    organization_id: str
    sequence: int
    audit_event_id: str
    at: str
    action: str
    object_id: str | None
    actor_id: str | None
    data: Document | None
    previous_hash: str
    hash: str


class AuditCheckpoint(Output):
    """A statement of an entry's hash, signed by control with Ed25519."""

    organization_id: str
    number: int
    sequence: int
    hash: str
    at: str
    key_id: str
    signature: str


class AuditSegment(Output):
    """A signed statement of entries that were exported to a file and removed."""

    organization_id: str
    first_sequence: int
    last_sequence: int
    previous_hash: str
    last_hash: str
    checkpoint: int
    file: str
    file_sha256: str
    at: str
    key_id: str
    signature: str


class AuditEnd(Output):
    """The newest entry and the number of the newest checkpoint."""

    sequence: int
    hash: str
    checkpoint: int


class AuditExport(Output):
    """A part of the log, the oldest entries first.

    The first part has the public keys and the closed segments, the last part has the ``end``.
    """

    public_keys: list[str]
    segments: list[AuditSegment]
    checkpoints: list[AuditCheckpoint]
    entries: list[AuditChainEntry]
    end: AuditEnd | None

    @classmethod
    def of(cls, page: LogPage) -> Self:
        return cls(
            public_keys=[str(key) for key in page.keys],
            segments=[AuditSegment.model_validate(one) for one in page.segments],
            checkpoints=[AuditCheckpoint.model_validate(one) for one in page.checkpoints],
            entries=[AuditChainEntry.model_validate(one) for one in page.entries],
            end=page.end and AuditEnd.model_validate(page.end),
        )


async def export(context: Context, request: AuditExportQuery) -> AuditExport:
    """Return a part of the organization's audit log, with what verifies it."""
    async with context.resources.pool.connection() as connection:
        page = await read_page(
            connection,
            context.organization_id,
            after=request.after_sequence,
            limit=request.limit,
        )
    return AuditExport.of(page)


PROCEDURES = (
    Procedure("auditLog.export", "query", AuditExportQuery, AuditExport, export, "admin"),
)
