"""An audit log with entries, and what `wharf audit verify` finds in it."""

from collections.abc import Sequence
from datetime import timedelta

from shared.audit.checkpoints import VerifyingKey
from shared.audit.store import read_log
from shared.audit.verification import Verification
from shared.ids import make_id
from tests.world import World
from worker.control.audit.chaining import chain_entries
from worker.control.audit.signing import Checkpoints

AT_ONCE = timedelta(0)


async def add_entries(world: World, count: int, organization_id: str | None = None) -> None:
    """Store entries as changes do, without a place in the chain."""
    for number in range(count):
        await world.owner.execute(
            "INSERT INTO audit_event (audit_event_id, organization_id, action, object_id, data)"
            " VALUES (%s, %s, 'registry.update', %s, jsonb_build_object('n', %s::int, 'é', null))",
            (make_id(), organization_id or world.organization_id, make_id(), number),
        )


async def chain(world: World) -> None:
    """Chain all entries, and sign a checkpoint of the newest one."""
    await chain_entries(world.control)
    await Checkpoints(world.keys, AT_ONCE).sign_due(world.control)


async def verify(world: World, trusted: Sequence[VerifyingKey] = ()) -> Verification:
    """Verify the organization's log in the database."""
    verification = Verification(trusted)
    async for line in read_log(world.control, world.organization_id):
        verification.add(line)
    verification.finish()
    return verification


async def make_log(world: World) -> None:
    """Make a log of nine entries with three checkpoints, after entries 4, 6 and 8."""
    for count in (4, 2, 2):
        await add_entries(world, count)
        await chain(world)
    await add_entries(world, 1)
    await chain_entries(world.control)
