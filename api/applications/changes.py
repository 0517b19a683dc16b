"""Answers to changes of applications."""

from collections.abc import Collection

from pydantic import RootModel
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.queries import find_application
from api.applications.schemas import ApplicationOutput
from api.applications.status import read_statuses
from api.fields.shapes import Warned
from api.procedure.context import Context
from shared.models import Application


class ChangedApplication(ApplicationOutput, Warned):
    """An application that was changed, with warnings."""


class ApplicationChange(RootModel[bool | ChangedApplication]):
    """`true`, as Dokploy answers; the application with `warnings` if a field was not stored."""


async def show_change(
    session: AsyncSession, context: Context, application: Application, stored: Collection[str]
) -> ApplicationChange:
    """Return `true`, or the application as it is now if fields that are not ``stored`` were given.

    A stored setting may wait for another one: the header with the warnings names it.
    """
    if all(each.field in stored for each in context.warnings):
        return ApplicationChange(root=True)
    name = application.application_id
    found = await find_application(session, context, name)
    statuses = await read_statuses(session, [name])
    shown = ChangedApplication.of(*found, statuses[name])
    return ApplicationChange(shown.model_copy(update={"warnings": list(context.warnings)}))
