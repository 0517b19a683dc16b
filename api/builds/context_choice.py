"""Choose the uploaded context that a build is made from."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import NoContextError
from shared.errors import NotFoundError
from shared.jobs.sources import UploadSource
from shared.models import Application, BuildContext


async def choose_context(
    session: AsyncSession, application: Application, context_id: str | None
) -> UploadSource | None:
    """Return the named context, or the newest one if the application is built from uploads.

    Raises:
        NotFoundError: the application has no such context.
        NoContextError: it is built from uploads and has none.
    """
    if context_id is None and application.source_type != "drop":
        return None
    query = select(BuildContext).where(BuildContext.application_id == application.application_id)
    if context_id is not None:
        query = query.where(BuildContext.context_id == context_id)
    newest = query.order_by(
        col(BuildContext.created_at).desc(), col(BuildContext.context_id).desc()
    )
    found = (await session.exec(newest.limit(1))).first()
    if found is not None:
        return UploadSource(
            context_id=found.context_id, size_bytes=found.size_bytes, sha256=found.sha256
        )
    if context_id is not None:
        raise NotFoundError("Context not found")
    raise NoContextError(
        f"nothing was uploaded for the application {application.name} yet",
        remedy="Send a tar to application.uploadContext first.",
    )
