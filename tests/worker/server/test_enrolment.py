"""The enrolment of a server: its request, and the effect of each answer."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import SetupError
from shared.vault import PublicKey
from tests.fakes.sockets import open_socket, reset
from tests.fakes.web import open_fake, says
from worker.local.processes import free_port
from worker.server.enrolment import enrol
from worker.server.identity import Enrolment, StateDirectory

TOKEN = "what-nobody-may-see"
ANSWER = {
    "serverId": "server",
    "organizationId": "organization",
    "databaseUrl": "postgresql://database/wharf",
    "brokerUrl": "redis://broker/0",
    "added": "in a later version",
}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    opened = StateDirectory.open(tmp_path / "state")
    yield opened
    opened.close()


async def answer_well(_: web.Request) -> web.StreamResponse:
    return web.json_response(ANSWER)


async def enrol_at(host: str, state: StateDirectory) -> Enrolment:
    return await asyncio.to_thread(enrol, state, f"http://{host}/", TOKEN)


async def test_a_server_sends_its_verifiers_and_stores_the_answer(state: StateDirectory) -> None:
    bodies: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return await answer_well(request)

    async with open_fake(answer) as fake:
        enrolled = await enrol_at(fake.host, state)

    assert fake.lines == ["POST /api/server.enroll"]
    [body] = bodies
    assert set(body) == {"joinToken", "publicKey", "roleVerifier", "brokerPasswordHash"}
    assert body["joinToken"] == TOKEN
    assert PublicKey.parse(body["publicKey"]).key_id == state.public_key().key_id
    assert body["roleVerifier"].startswith("SCRAM-SHA-256$")
    broker_password = state.broker_password().get_secret_value()
    assert body["brokerPasswordHash"] == hashlib.sha256(broker_password.encode()).hexdigest()
    assert enrolled == state.enrolment
    assert enrolled == Enrolment(
        server_id="server",
        organization_id="organization",
        database_url="postgresql://database/wharf",
        broker_url="redis://broker/0",
        api_url=f"http://{fake.host}/",
        token_hash=hashlib.sha256(TOKEN.encode()).hexdigest(),
    )


async def test_no_password_and_no_private_key_is_sent(state: StateDirectory) -> None:
    bodies: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return await answer_well(request)

    async with open_fake(answer) as fake:
        await enrol_at(fake.host, state)

    for password in (state.database_password(), state.broker_password()):
        assert password.get_secret_value().encode() not in bodies[0]
    private = (state.path / "server.key").read_bytes()
    assert private.removeprefix(b"wharf-private-v1.") not in bodies[0]


async def test_a_refusal_is_reported_with_its_reason_and_without_the_token(
    state: StateDirectory,
) -> None:
    refusal = '{"message": "this token was used already", "code": "BAD_REQUEST"}'

    async with open_fake(says(400, text=refusal, kind="application/json")) as fake:
        with pytest.raises(SetupError, match="was used already") as caught:
            await enrol_at(fake.host, state)

    assert TOKEN not in f"{caught.value.message} {caught.value.remedy}"
    assert "wharf server create NAME --renew" in caught.value.remedy
    assert state.enrolment is None


@pytest.mark.parametrize("text", ["<html>Bad gateway</html>", "[]", '{"message": 5}', ""])
async def test_a_refusal_of_another_shape_is_reported_by_its_status(
    state: StateDirectory, text: str
) -> None:
    async with open_fake(says(502, text=text)) as fake:
        with pytest.raises(SetupError, match=r"502|: 5"):
            await enrol_at(fake.host, state)


@pytest.mark.parametrize(
    "text", ["<html>Welcome</html>", "[]", "null", "{}", '{"serverId": 1, "databaseUrl": "x"}', ""]
)
async def test_an_invalid_answer_is_not_stored(state: StateDirectory, text: str) -> None:
    async with open_fake(says(200, text=text)) as fake:
        with pytest.raises(SetupError):
            await enrol_at(fake.host, state)

    assert state.enrolment is None


async def test_a_missing_database_url_is_reported_with_a_remedy(
    state: StateDirectory,
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({**ANSWER, "databaseUrl": None})

    async with open_fake(answer) as fake:
        with pytest.raises(SetupError) as caught:
            await enrol_at(fake.host, state)

    assert "WHARF_SERVER_DATABASE_URL" in caught.value.remedy


async def test_the_enrolment_waits_for_an_api_that_is_not_up_yet(state: StateDirectory) -> None:
    port = free_port()
    enrolling = asyncio.create_task(enrol_at(f"127.0.0.1:{port}", state))
    application = web.Application()
    application.router.add_post("/api/server.enroll", answer_well)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    ended, _ = await asyncio.wait({enrolling}, timeout=0.2)
    assert not ended
    await web.TCPSite(runner, "127.0.0.1", port).start()

    try:
        assert (await enrolling).server_id == "server"
    finally:
        await runner.cleanup()


async def test_a_cut_enrolment_is_not_repeated(state: StateDirectory) -> None:
    async with open_socket(reset) as host:
        with pytest.raises(SetupError, match="cannot reach") as caught:
            await enrol_at(host, state)

    assert TOKEN not in caught.value.message
