"""Expired rows are deleted, and nothing else."""

from shared.ids import make_id
from tests.world import World
from worker.control.maintenance.expired_rows import delete_expired_rows


async def test_an_idempotency_key_is_deleted_after_a_day(world: World) -> None:
    key = make_id()
    await world.owner.execute(
        "INSERT INTO api_key (api_key_id, organization_id, name, role, start, key_hash)"
        " VALUES (%s, %s, 'pipeline', 'member', '', '')",
        (key, world.organization_id),
    )
    for name, age in (("old", "25 hours"), ("fresh", "23 hours")):
        await world.owner.execute(
            "INSERT INTO idempotency (actor_id, key, position, organization_id, request_hash,"
            " job_id, created_at) VALUES (%s, %s, 0, %s, '', 'job', now() - %s::interval)",
            (key, name, world.organization_id, age),
        )

    await delete_expired_rows(world.control)

    assert await world.rows("SELECT key FROM idempotency") == [{"key": "fresh"}]


async def test_turns_that_nobody_waits_for_any_more_are_forgotten(world: World) -> None:
    server = await world.add_server()
    await world.dispatch(server, fair_key="gone")
    await world.owner.execute("UPDATE application_turn SET served_at = now() - interval '2 hours'")
    await world.dispatch(server, fair_key="here")

    await delete_expired_rows(world.control)

    assert await world.rows("SELECT fair_key FROM application_turn") == [{"fair_key": "here"}]


async def test_old_join_tokens_are_forgotten(world: World) -> None:
    server = await world.add_server()
    for token, age in ((b"old", "2 days"), (b"fresh", "1 hour")):
        await world.owner.execute(
            "INSERT INTO server_token (token_hash, server_id, expires_at)"
            " VALUES (%s, %s, now() - %s::interval)",
            (token, server.server_id, age),
        )

    await delete_expired_rows(world.control)

    assert await world.rows("SELECT token_hash FROM server_token") == [{"token_hash": b"fresh"}]


async def test_results_of_registry_tests_are_kept_for_a_year(world: World) -> None:
    server, registry_id = await world.add_server(), await world.add_registry()
    for job_id, age in (("old", "367 days"), ("fresh", "364 days")):
        await world.owner.execute(
            "INSERT INTO registry_check (job_id, organization_id, registry_id, server_id, state,"
            " checked_at) VALUES (%s, %s, %s, %s, 'succeeded', now() - %s::interval)",
            (job_id, world.organization_id, registry_id, server.server_id, age),
        )

    await delete_expired_rows(world.control)

    assert await world.rows("SELECT job_id FROM registry_check") == [{"job_id": "fresh"}]


async def test_sessions_that_are_over_and_old_invitations_are_deleted(world: World) -> None:
    await world.owner.execute(
        "INSERT INTO user_account (user_id, email, name, salt, derivation, proof_hash)"
        " VALUES ('ada', 'ada@example.com', 'Ada', '', '{}', '')"
    )
    for name, age, idle in (("old", "31 days", "1 hour"), ("idle", "1 day", "13 hours")):
        await add_session(world, name, age, idle)
    await add_session(world, "fresh", "29 days", "11 hours")
    for name, age in (("old", "31 days"), ("fresh", "29 days")):
        await world.owner.execute(
            "INSERT INTO invitation (invitation_id, organization_id, role, token_hash, expires_at)"
            " VALUES (%s, %s, 'viewer', sha256(%s), now() - %s::interval)",
            (name, world.organization_id, name.encode(), age),
        )

    await delete_expired_rows(world.control)

    assert await world.rows("SELECT session_id FROM user_session") == [{"session_id": "fresh"}]
    assert await world.rows("SELECT invitation_id FROM invitation") == [{"invitation_id": "fresh"}]


async def add_session(world: World, name: str, age: str, idle: str) -> None:
    await world.owner.execute(
        "INSERT INTO user_session (session_id, user_id, organization_id, token_hash, address,"
        " user_agent, created_at, last_used_at) VALUES (%s, 'ada', %s, sha256(%s), '', '',"
        " now() - %s::interval, now() - %s::interval)",
        (name, world.organization_id, name.encode(), age, idle),
    )
