"""Find and change the rows of the organization's applications."""

from collections.abc import Collection, Sequence

from sqlalchemy import ARRAY, String
from sqlalchemy.exc import IntegrityError
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.container import HealthCheck, Mount, Port
from api.errors import NameTakenError
from api.fields.shapes import Input
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.sessions import violates
from shared.errors import NotFoundError
from shared.models import Application, ApplicationServer, AuditEvent
from shared.vault import SealContext

NAME_CONSTRAINT = "application_app_name"

SERVER_IDS = func.array(
    select(ApplicationServer.server_id)
    .where(ApplicationServer.application_id == Application.application_id)
    .order_by(ApplicationServer.server_id)
    .correlate(Application)
    .scalar_subquery(),
    type_=ARRAY(String),
)


async def find_application(
    session: AsyncSession, context: Context, application_id: str, *, lock: bool = False
) -> tuple[Application, Sequence[str]]:
    """Return the row and the ids of its servers; ``lock`` locks the row for the transaction.

    Raises:
        NotFoundError: no such application, or another organization's.
    """
    query = select(Application, SERVER_IDS).where(
        Application.organization_id == context.organization_id,
        Application.application_id == application_id,
    )
    locked = query.with_for_update(of=Application)
    found = (await session.exec(locked if lock else query)).one_or_none()
    if found is None:
        raise NotFoundError("Application not found")
    if lock:
        await context.require_expected(session, application_id)
    application, server_ids = found
    return application, server_ids


def assign(application: Application, request: Input, fields: Collection[str]) -> list[str]:
    """Set columns to what is asked for them; gives their names, sorted."""
    for field in fields:
        setattr(application, field, _storable(getattr(request, field)))
    return sorted(fields)


async def flush_application(session: AsyncSession, application: Application) -> None:
    """Write the row.

    Raises:
        NameTakenError: another application of the organization has its ``appName``.
    """
    taken = f"there is an application with the appName {application.app_name} already"
    try:
        await session.flush()
    except IntegrityError as error:
        if not violates(error, NAME_CONSTRAINT):
            raise
        raise NameTakenError(taken) from None


def seal_for(
    context: Context,
    application: Application,
    purpose: str,
    secret: str,
    *,
    host: str = "",
    username: str = "",
) -> str:
    """Return the secret, sealed for this application and purpose."""
    bound = SealContext(
        purpose=purpose,
        organization_id=application.organization_id,
        object_id=application.application_id,
        host=host,
        username=username,
    )
    return context.resources.vault.seal(secret, bound)


def application_event(
    context: Context, action: str, application: Application, changed: list[str] | None = None
) -> AuditEvent:
    return audit_event(
        context,
        action,
        application.application_id,
        name=application.name,
        app_name=application.app_name,
        changed=changed,
    )


def _storable(value: object) -> object:
    match value:
        case HealthCheck() | Port() | Mount():
            return value.model_dump(mode="json")
        case list():
            return [_storable(item) for item in value]
        case _:
            return value
