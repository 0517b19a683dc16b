"""Receive a context: check its application, then store its bytes, then its row."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from api.applications.permissions import require_builder
from api.applications.queries import find_application
from api.builds.context_quota import require_quota
from api.fields.shapes import Id, Input, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.uploads.store import ContextStore, Received
from shared.errors import NotFoundError, UnmetConditionError, WharfError
from shared.ids import make_id
from shared.models import BuildContext

NAME = "application.uploadContext"


class UploadContext(Input):
    application_id: Id


class ContextOutput(Output):
    """A stored context, from which builds can be made; `sha256` is hexadecimal."""

    context_id: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Upload:
    """The body of a request, chunk by chunk.

    ``announced_bytes`` and ``expected`` are the size and the SHA-256 that the caller names.
    """

    chunks: AsyncGenerator[bytes, None]
    announced_bytes: int = 0
    expected: frozenset[str] = frozenset()

    @property
    def procedure(self) -> Procedure[UploadContext, ContextOutput]:
        return Procedure(NAME, "mutation", UploadContext, ContextOutput, self.receive)

    async def receive(self, context: Context, request: UploadContext) -> ContextOutput:
        """Upload the sources of an application as a tar, plain or compressed.

        The body is the tar itself. With `Content-Digest` (RFC 9530) or `x-content-sha256` it is
        taken only if it is just that. `application.build` builds from it: by its `contextId`, or
        the newest one where the application's `sourceType` is `drop`. It is kept as long as jobs.
        """
        store, caller = _require_store(context), context.caller
        with context.resources.uploads.hold(caller.organization_id, caller.actor_id):
            async with context.transaction() as session:
                application, _ = await find_application(session, context, request.application_id)
                await require_quota(session, context, self.announced_bytes)
            require_builder(caller, application, uploads=True)
            store.require_room(self.announced_bytes)
            context_id = make_id()
            async with aclosing(self.chunks) as chunks:
                received = await store.receive(context_id, chunks, self.expected)
            try:
                return await _insert(context, request.application_id, context_id, received)
            except WharfError:
                store.remove(context_id)
                raise


def _require_store(context: Context) -> ContextStore:
    if context.resources.contexts is None:
        raise UnmetConditionError(
            "no_data_dir",
            "this API stores no uploads, because WHARF_DATA_DIR is not set",
            remedy="Set WHARF_DATA_DIR for the API, or build from git.",
        )
    return context.resources.contexts


async def _insert(
    context: Context, application_id: str, context_id: str, received: Received
) -> ContextOutput:
    """Store the row; a file that stays without one is tidied away."""
    row = BuildContext(
        context_id=context_id,
        organization_id=context.organization_id,
        application_id=application_id,
        size_bytes=received.size_bytes,
        sha256=received.sha256,
    )
    try:
        async with context.transaction() as session:
            await require_quota(session, context, received.size_bytes)
            session.add(row)
    except IntegrityError:
        # It was removed while its context came.
        raise NotFoundError("Application not found") from None
    return ContextOutput.model_validate(row)


async def _nothing() -> AsyncGenerator[bytes, None]:
    for chunk in list[bytes]():
        yield chunk


UPLOAD = Upload(_nothing()).procedure
"""The procedure in the documents; each request has a copy of it with its own body."""
