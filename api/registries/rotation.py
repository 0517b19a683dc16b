"""Rotate the login of a registry: stage a new one, have it tested, go back to the old one."""

import asyncio
from typing import Annotated, Self

from pydantic import Field, model_validator
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import AlreadyEndedError, NoFormerLoginError
from api.fields.effects import NotBeside
from api.fields.shapes import Id, Input, Password, Username, Warned
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.sessions import connection_of
from api.registries.credentials import seal_password, seal_source, shown_username
from api.registries.diagnosis import stored_test
from api.registries.former_logins import (
    KEEP_HOURS,
    RotationOutput,
    close,
    find_open,
    require_none_testing,
    show_rotation,
)
from api.registries.procedures import find_registry
from api.registries.schemas import ChosenRegistry
from shared.coroutines import wait_for_event
from shared.credentials.kinds import AnySource
from shared.credentials.server_tests import Finding, parse_tests
from shared.credentials.slots import StoredLogin, exchange_login
from shared.errors import FailedJobError, UnmetConditionError
from shared.faults import Fault
from shared.jobs.store.cancel import cancel
from shared.models import AuditEvent, CredentialSource, Registry, Rotation, RotationState

READ_EVERY_SECONDS = 2.0
"""The pause between two readings of a rotation whose notification may be lost."""


class RotateRegistry(Input):
    """Give a `password`, or a `credential`; the `username` stays as it is unless it is given.

    With `force` the new login is used although a test of it failed. The old one is kept for
    `keepOldHours` after the switch.
    """

    registry_id: Id
    username: Annotated[Username | None, NotBeside("credential")] = None
    password: Annotated[Password | None, NotBeside("credential", refused=True)] = None
    credential: AnySource | None = None
    force: bool = False
    keep_old_hours: Annotated[int, Field(ge=0, le=720)] = KEEP_HOURS

    @model_validator(mode="after")
    def _has_login(self) -> Self:
        if self.password is None and self.credential is None:
            raise ValueError("Give password or credential")
        return self


class StartedRotation(RotationOutput, Warned):
    """A rotation that was just requested."""


async def rotate(context: Context, request: RotateRegistry) -> StartedRotation:
    """Test a new login of a registry from its servers, and use it if all of them succeed.

    One server tests it first, then all others that use the registry, as far as they are online. A
    failed test refuses it, and the old login stays in use. Running jobs end with the login that
    they began with. The answer comes after the switch, or after half a minute as `testing`; see
    `registry.one` then. A caller that leaves does not end it.
    """
    with context.waiting():
        rotation_id = await _stage(context, request)
        rotation = await _wait(context, rotation_id)
        _require_not_refused(rotation)
    async with context.transaction() as session:
        shown = await show_rotation(session, rotation)
    return StartedRotation(**dict(shown))


async def cancel_rotation(context: Context, request: ChosenRegistry) -> RotationOutput:
    """Cancel a rotation whose new login is being tested; the registry keeps its login."""
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        rotation = await find_open(session, registry.registry_id, RotationState.TESTING)
        if rotation is None:
            raise AlreadyEndedError(
                f"no new login of the registry {registry.registry_name} is being tested",
                remedy="After a switch, go back to the old login with registry.rollbackCredential.",
            )
        close(rotation, RotationState.CANCELLED)
        session.add(rotation)
        session.add(_audit(context, "registry.cancelRotation", registry, rotation))
        shown = await show_rotation(session, rotation)
    async with context.resources.pool.connection() as connection:
        # One that goes on all the same changes nothing.
        for test in shown.tests:
            if test.state is Finding.RUNNING and test.job_id is not None:
                reason = "the rotation was cancelled"
                await cancel(connection, test.job_id, context.organization_id, reason)
    return shown


async def roll_back(context: Context, request: ChosenRegistry) -> RotationOutput:
    """Use the former login of a registry again, while it is kept, and drop the newer one.

    It is used at once, without a test.
    """
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        await require_none_testing(session, registry)
        rotation = await find_open(session, registry.registry_id, RotationState.SWITCHED)
        if rotation is None:
            raise NoFormerLoginError(
                f"no former login of the registry {registry.registry_name} is kept",
                remedy="Store it again with registry.update or registry.rotate.",
            )
        login = StoredLogin.model_validate(rotation.slot)
        connection = await connection_of(session)
        await exchange_login(connection, registry.registry_id, login)
        close(rotation, RotationState.ROLLED_BACK)
        rotation.settled_at = None
        session.add(rotation)
        session.add(_audit(context, "registry.rollbackCredential", registry, rotation))
        return await show_rotation(session, rotation)


async def _stage(context: Context, request: RotateRegistry) -> str:
    """Store the new login beside the one in use; return the rotation's id.

    A repetition with the same `Idempotency-Key` is the same rotation.
    """
    async with context.transaction() as session:
        registry = await find_registry(session, context, request.registry_id, lock=True)
        earlier = await session.get(Rotation, context.job_id)
        if earlier is not None and earlier.registry_id == registry.registry_id:
            return earlier.rotation_id
        await require_none_testing(session, registry)
        login = await _seal(session, context, registry, request)
        command = stored_test(
            context, registry, username=login.username, rotation_id=context.job_id
        )
        rotation = Rotation(
            rotation_id=context.job_id,
            organization_id=registry.organization_id,
            registry_id=registry.registry_id,
            state=RotationState.TESTING,
            slot=login.model_dump(mode="json"),
            command=command.model_dump(mode="json"),
            forced=request.force,
            keep_hours=request.keep_old_hours,
            requested_by=context.caller.actor_id,
        )
        session.add(rotation)
        session.add(_audit(context, "registry.rotate", registry, rotation))
    return context.job_id


async def _seal(
    session: AsyncSession, context: Context, registry: Registry, request: RotateRegistry
) -> StoredLogin:
    if request.credential is not None:
        return seal_source(context, registry, request.credential)
    assert request.password is not None  # noqa: S101 - see RotateRegistry
    stored = await session.get(CredentialSource, registry.registry_id)
    username = request.username or shown_username(registry, stored)
    return seal_password(context, registry, username, request.password)


async def _wait(context: Context, rotation_id: str) -> Rotation:
    """Return the rotation once it is tested, or as it is after the time that a caller waits."""
    clock = asyncio.get_running_loop().time
    until = clock() + context.resources.patience.total_seconds()
    with context.resources.waiter.watch(rotation_id) as notification:
        while True:
            notification.clear()
            async with context.transaction() as session:
                rotation = await session.get_one(Rotation, rotation_id)
            remaining = until - clock()
            is_tested = rotation.state != RotationState.TESTING
            if is_tested or context.respond_async or remaining <= 0:
                return rotation
            await wait_for_event(notification, min(remaining, READ_EVERY_SECONDS))


def _require_not_refused(rotation: Rotation) -> None:
    """Raise the fault of a refused rotation.

    Raises:
        FailedJobError: with the first test that failed; its job has the whole report.
        UnmetConditionError: no server could test it, or no login could be got to be tested.
    """
    if rotation.error is None:
        return
    fault = Fault.model_validate(rotation.error)
    for test in parse_tests(rotation.tests):
        if test.finding is Finding.FAILED and test.job_id is not None:
            raise FailedJobError(fault, job_id=test.job_id)
    raise UnmetConditionError(fault.code, fault.message, remedy=fault.remedy)


def _audit(context: Context, action: str, registry: Registry, rotation: Rotation) -> AuditEvent:
    return audit_event(
        context,
        action,
        registry.registry_id,
        name=registry.registry_name,
        host=registry.host,
        rotation=rotation.rotation_id,
        forced=rotation.forced,
    )


PROCEDURES = (
    Procedure(
        "registry.rotate",
        "mutation",
        RotateRegistry,
        StartedRotation,
        rotate,
        "admin",
        repeatable=True,
    ),
    Procedure(
        "registry.cancelRotation",
        "mutation",
        ChosenRegistry,
        RotationOutput,
        cancel_rotation,
        "admin",
    ),
    Procedure(
        "registry.rollbackCredential",
        "mutation",
        ChosenRegistry,
        RotationOutput,
        roll_back,
        "admin",
    ),
)
