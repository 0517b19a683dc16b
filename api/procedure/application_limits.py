"""API keys that are limited to applications: all that such a key names is looked up here."""

from typing import Any, NoReturn

from sqlalchemy import ColumnElement, true
from sqlmodel import col

from api.procedure.context import Caller, Context
from api.procedure.procedure import Procedure
from shared.errors import ForbiddenError, NotFoundError

OWNERS = {
    "application_id": ("Application", "SELECT %s::text AS application_id"),
    "build_id": ("Build", "SELECT application_id FROM build WHERE build_id = %s"),
    "context_id": ("Context", "SELECT application_id FROM context WHERE context_id = %s"),
    "deployment_id": (
        "Deployment",
        "SELECT application_id FROM deployment WHERE deployment_id = %s",
    ),
    "hook_id": ("Deploy hook", "SELECT application_id FROM deploy_hook WHERE hook_id = %s"),
    "job_id": ("Job", "SELECT fair_key AS application_id FROM job WHERE job_id = %s"),
    "rollback_id": ("Rollback", "SELECT application_id FROM rollback WHERE rollback_id = %s"),
}
"""For each field that names a thing of an application: the thing, and its application."""

OWN_LISTS = frozenset(
    {
        *("application.all", "application.search", "job.all", "job.statistics"),
        *("deployment.allByServer", "deployment.allByType", "deployment.allCentralized"),
        *("deployment.queueList", "project.all", "project.one"),
        *("environment.one", "environment.byProjectId"),
    }
)
"""Lists of things of applications; they leave out those of other applications."""

OWN_FACTS = frozenset({"user.get", "settings.getDokployVersion", "settings.isCloud"})
"""The caller itself and the API's version: they show nothing else."""


async def require_applications(
    context: Context, procedure: Procedure[Any, Any], request: Any
) -> None:
    """Check a call with a key that is limited to applications; without a limit do nothing.

    Raises:
        ForbiddenError: the procedure is not about an application, or the request names none.
        NotFoundError: the request names a thing of another application, or none.
    """
    caller = context.caller
    if not caller.application_ids:
        return
    fields = OWNERS.keys() & type(request).model_fields.keys()
    named = {field: value for field in fields if (value := getattr(request, field)) is not None}
    if not named and procedure.name not in OWN_LISTS | OWN_FACTS:
        _refuse(procedure.name, takes_application=bool(fields))
    for field, value in named.items():
        await _require_own(context, field, value)


def _refuse(name: str, *, takes_application: bool) -> NoReturn:
    if takes_application:
        raise ForbiddenError(
            f"this API key is limited to applications, and this call of {name} names none",
            remedy="Give the applicationId of one of its applications.",
        )
    raise ForbiddenError(
        f"this API key is limited to applications, and {name} is not about one",
        remedy="Use a key that is not limited to applications.",
    )


def require_application(caller: Caller, application_id: str) -> None:
    """Raise `NotFoundError` if the key is limited to other applications."""
    if caller.application_ids and application_id not in caller.application_ids:
        raise NotFoundError("Application not found")


def within_limits(caller: Caller, application_id: str) -> ColumnElement[bool]:
    """Return the condition that a column, as `Build.application_id`, is of a key's applications."""
    if not caller.application_ids:
        return true()
    return col(application_id).in_(caller.application_ids)


async def _require_own(context: Context, field: str, value: str) -> None:
    thing, owner = OWNERS[field]
    async with context.resources.pool.connection() as connection:
        row = await (await connection.execute(owner, (value,))).fetchone()
    if row is None or row["application_id"] not in context.caller.application_ids:
        raise NotFoundError(f"{thing} not found")
