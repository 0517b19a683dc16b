"""A server was taken over: its database role and its broker user hurt that server alone."""

import psycopg
import pytest

from tests.world import World


async def test_a_server_role_reads_no_table(world: World) -> None:
    guest = await world.add_server()
    connection = await guest.connection()

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await connection.execute("SELECT * FROM public.server")
