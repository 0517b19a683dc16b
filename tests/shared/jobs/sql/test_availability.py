"""A server is online and available by one rule for all roles."""

import pytest

from tests.world import World

AVAILABLE = """
SELECT server_is_online(server) AS online, server_is_available(server, 'quick') AS takes FROM server
"""


@pytest.mark.parametrize(
    ("change", "online", "takes"),
    [
        ("seen_at = now()", True, True),
        ("seen_at = now() - interval '14 s'", True, True),
        ("seen_at = now() - interval '16 s'", False, False),
        ("seen_at = NULL", False, False),
        ("incarnation = NULL", False, False),
        ("removed_at = now()", False, False),
        ("approved_at = NULL", True, False),
        ("draining = true", True, False),
        ("paused_at = now(), paused_classes = '{quick}'", True, False),
        ("paused_at = now(), paused_classes = '{transfer,build}'", True, True),
    ],
)
@pytest.mark.parametrize("role", ["api", "control"])
async def test_a_server_is_online_and_available_by_one_rule(
    world: World, role: str, change: str, *, online: bool, takes: bool
) -> None:
    await world.add_server()
    await world.owner.execute(f"UPDATE server SET {change}".encode())

    [row] = await (await getattr(world, role).execute(AVAILABLE)).fetchall()

    assert row == {"online": online, "takes": takes}
