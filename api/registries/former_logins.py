"""The second slot of a registry: keep its former login, and show how it got there."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import RotationRunningError
from api.fields.shapes import Moment, Output
from api.procedure.context import Context
from api.registries.credentials import CredentialFault
from shared.credentials.server_tests import Finding, ServerTest, parse_tests
from shared.credentials.slots import StoredLogin
from shared.ids import make_id
from shared.models import Registry, Rotation, RotationState

KEEP_HOURS = 24
"""The time for which a former login is kept by default."""

JOBS_WITH_OLD = text("SELECT count(*) FROM former_login_use WHERE rotation_id = :rotation_id")


class RotationTest(Output):
    """The test of the new login from one server; the job's error has the whole report."""

    server_id: str
    server_name: str
    state: Finding
    job_id: str | None
    code: str | None
    message: str | None
    remedy: str | None


class RotationOutput(Output):
    """A change of a registry's login.

    `state` is `testing` before the new login is in use; `switched` while the old one is kept, until
    `keptUntil`; `dropped` after that. It ends as `rolled_back`, `refused` or `cancelled` if the old
    login is in use again, or still. `jobsWithOldLogin` are running jobs that began before the
    switch, or null for a moment after it: revoke the old login at the registry once there are none.
    """

    rotation_id: str
    state: RotationState
    forced: bool
    tests: list[RotationTest]
    error: CredentialFault | None
    jobs_with_old_login: int | None
    created_at: Moment
    switched_at: Moment | None
    kept_until: Moment | None
    finished_at: Moment | None


async def find_newest(session: AsyncSession, registry_id: str) -> Rotation | None:
    """Return the newest rotation of a registry."""
    query = select(Rotation).where(Rotation.registry_id == registry_id)
    newest = query.order_by(col(Rotation.created_at).desc(), col(Rotation.rotation_id).desc())
    return (await session.exec(newest.limit(1))).first()


async def find_open(
    session: AsyncSession, registry_id: str, state: RotationState
) -> Rotation | None:
    """Return the rotation in this state and lock it; the registry's row has to be locked."""
    query = select(Rotation).where(Rotation.registry_id == registry_id, Rotation.state == state)
    return (await session.exec(query.with_for_update())).first()


async def require_none_testing(session: AsyncSession, registry: Registry) -> None:
    """Raise `RotationRunningError` if a new login of the registry is being tested."""
    if await find_open(session, registry.registry_id, RotationState.TESTING) is not None:
        raise RotationRunningError(
            f"another login of the registry {registry.registry_name} is being tested",
            remedy="Wait for its end (registry.one), or cancel it with registry.cancelRotation.",
        )


async def keep_former(
    session: AsyncSession, context: Context, registry: Registry, former: StoredLogin | None
) -> None:
    """Keep the former login of a registry that has got another one; ``None`` keeps none.

    A login that was kept before makes room for it.

    Raises:
        RotationRunningError: a new login is being tested.
    """
    await require_none_testing(session, registry)
    kept = await find_open(session, registry.registry_id, RotationState.SWITCHED)
    if kept is not None:
        close(kept, RotationState.DROPPED)
        session.add(kept)
    await session.flush()  # before the new row, whose event names the login in use
    if former is None:
        return
    now = datetime.now(UTC)
    session.add(
        Rotation(
            rotation_id=make_id(),
            organization_id=registry.organization_id,
            registry_id=registry.registry_id,
            state=RotationState.SWITCHED,
            slot=former.model_dump(mode="json"),
            keep_hours=KEEP_HOURS,
            requested_by=context.caller.actor_id,
            switched_at=now,
            kept_until=now + timedelta(hours=KEEP_HOURS),
        )
    )


def close(rotation: Rotation, state: RotationState) -> None:
    """End a rotation, and drop the login that is not in use."""
    rotation.state, rotation.slot, rotation.finished_at = state, None, datetime.now(UTC)


async def show_rotation(session: AsyncSession, rotation: Rotation) -> RotationOutput:
    """Return a rotation as callers see it, without its login."""
    count: int | None = None
    if rotation.state != RotationState.SWITCHED:
        count = 0
    elif rotation.settled_at is not None:
        found = await (await session.connection()).execute(
            JOBS_WITH_OLD, {"rotation_id": rotation.rotation_id}
        )
        count = found.scalar_one()
    return RotationOutput.model_validate(
        {
            **rotation.model_dump(exclude={"tests"}),
            "tests": [_show_test(test) for test in parse_tests(rotation.tests)],
            "jobs_with_old_login": count,
        }
    )


def _show_test(test: ServerTest) -> dict[str, Any]:
    fault = test.fault
    return {
        **test.model_dump(include={"server_id", "server_name", "job_id"}),
        "state": test.finding,
        "code": fault.code if fault else None,
        "message": fault.message if fault else None,
        "remedy": fault.remedy if fault else None,
    }
