"""The first organization is made once, at the first start."""

import asyncio

from shared.ids import make_id
from tests.world import World


async def test_the_first_organization_is_made_once(world: World) -> None:
    await world.owner.execute("DELETE FROM api_key")
    await world.owner.execute("DELETE FROM organization")
    others = [await world.connect("wharf_api") for _ in range(3)]

    found = "SELECT organization_bootstrap(%s, %s, 'wharf_', sha256('key'))"
    await asyncio.gather(*(api.execute(found, (make_id(), make_id())) for api in others))

    assert len(await world.rows("SELECT 1 FROM organization")) == 1
    assert await world.rows("SELECT role FROM api_key") == [{"role": "admin"}]


async def test_no_second_organization_is_made(world: World) -> None:
    await world.api.execute("SELECT organization_bootstrap('theirs', 'key', 'wharf_', '')")

    assert len(await world.rows("SELECT 1 FROM api_key")) == 1
