"""A join token enrols one server, once."""

import asyncio

import psycopg
import pytest

from shared.ids import make_id
from tests.world import World

ENROLL = "SELECT server_enroll(sha256(%s), %s, 'SCRAM-SHA-256$4096:x') AS server"


async def make_token(world: World, *, minutes: int = 15) -> tuple[str, bytes]:
    """A new server's id, and the token that it may enrol with."""
    server_id, token = make_id(), make_id().encode()
    await world.api.execute(
        "INSERT INTO server (server_id, organization_id, name, description)"
        " VALUES (%s, %s, %s, '')",
        (server_id, world.organization_id, server_id),
    )
    await world.api.execute(
        "INSERT INTO server_token (token_hash, server_id, expires_at)"
        " VALUES (sha256(sha256(%s)), %s, now() + make_interval(mins => %s))",
        (token, server_id, minutes),
    )
    return server_id, token


async def enroll(world: World, token: bytes, key: str) -> str | None:
    row = await (await world.api.execute(ENROLL, (token, key))).fetchone()
    assert row is not None
    server: str | None = row["server"]
    return server


async def test_a_token_enrols_one_server_with_one_key(world: World) -> None:
    server_id, token = await make_token(world)

    assert await enroll(world, token, "ours") == server_id
    assert await enroll(world, token, "theirs") is None

    [row] = await world.rows("SELECT server_id, public_key FROM server_enrolment")
    assert row == {"server_id": server_id, "public_key": "ours"}


async def test_an_enrolment_whose_answer_was_lost_is_answered_again(world: World) -> None:
    server_id, token = await make_token(world)

    assert [await enroll(world, token, "ours") for _ in range(2)] == [server_id] * 2


async def test_a_token_that_is_over_or_unknown_enrols_nobody(world: World) -> None:
    _, over = await make_token(world, minutes=-1)

    assert await enroll(world, over, "ours") is None
    assert await enroll(world, b"unknown", "ours") is None


async def test_a_removed_server_is_not_enrolled_and_stays_removed(world: World) -> None:
    _, token = await make_token(world)
    await world.api.execute("UPDATE server SET removed_at = now()")

    assert await enroll(world, token, "ours") is None
    for moment in ("NULL", "now() + interval '1 day'"):
        with pytest.raises(psycopg.errors.CheckViolation):
            await world.api.execute(f"UPDATE server SET removed_at = {moment}".encode())


async def test_of_two_servers_with_one_token_one_is_enrolled(world: World) -> None:
    others = [await world.connect("wharf_api") for _ in range(2)]

    for _ in range(10):
        server_id, token = await make_token(world)
        cursors = await asyncio.gather(
            *(api.execute(ENROLL, (token, key)) for api, key in zip(others, "ab", strict=True))
        )
        rows = [await cursor.fetchone() for cursor in cursors]
        assert sorted(str(row and row["server"]) for row in rows) == sorted([server_id, "None"])
