"""Wrong keys and tokens are slowed by the address that sends them; good keys are not."""

import httpx2
import pytest
from starlette.applications import Starlette

from api.errors import TooManyFailuresError
from api.limits.guess_limit import MAX_ADDRESSES, GuessLimit
from tests.api.asking import ADMIN_KEY, open_client

LIMIT = 20


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def app(app: Starlette) -> Starlette:
    """Its budgets do not fill up again within a test."""
    app.state.resources.guesses.clock = Clock()
    return app


async def test_an_address_with_too_many_wrong_keys_is_refused_before_the_database_is_asked(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    await client.get("/api/registry.all")
    async with open_client(app, None) as guesser:
        statuses = [
            (await guesser.get("/api/registry.all", headers={"x-api-key": f"wrong-{number}"}))
            for number in range(LIMIT)
        ]
        requested = app.state.resources.pool.get_stats()["requests_num"]
        late = [
            await guesser.get(path, headers={"x-api-key": "wrong-again"})
            for path in ("/api/registry.all", "/api/trpc/registry.all", "/api/nothing")
        ]
        strict = await guesser.get(
            '/api/trpc/registry.all?input={"json":null}', headers={"x-api-key": "wrong-again"}
        )
        unasked = app.state.resources.pool.get_stats()["requests_num"] - requested
    good = await client.get("/api/registry.all")

    assert [answer.status_code for answer in statuses] == [401] * LIMIT
    assert [answer.status_code for answer in (*late, strict)] == [429] * 4
    assert late[0].json()["data"]["cause"]["code"] == "too_many_failures"
    assert {answer.headers["retry-after"] for answer in (*late, strict)} == {"3"}
    assert unasked == 0
    # It came from the same address.
    assert good.status_code == 200


@pytest.mark.parametrize("path", ["/api/deploy/guess", "/api/contexts/nothing"])
async def test_wrong_tokens_are_slowed_as_wrong_keys_are(app: Starlette, path: str) -> None:
    async with open_client(app, None) as guesser:
        statuses = []
        for number in range(LIMIT + 1):
            hook = path.replace("guess", f"guess-{number}")
            if "contexts" in path:
                answer = await guesser.get(hook, headers={"authorization": f"Bearer {number}"})
            else:
                answer = await guesser.post(hook, json={})
            statuses.append(answer.status_code)

    assert statuses == [404] * LIMIT + [429]


async def test_a_key_that_is_removed_is_a_wrong_one_from_then_on(
    app: Starlette, client: httpx2.AsyncClient
) -> None:
    created = (await client.post("/api/apiKey.create", json={"name": "x"})).json()
    async with open_client(app, created["key"]) as other:
        assert (await other.get("/api/registry.all")).status_code == 200
        await client.post("/api/apiKey.remove", json={"apiKeyId": created["apiKeyId"]})
        statuses = [(await other.get("/api/registry.all")).status_code for _ in range(LIMIT + 1)]

    assert statuses == [401] * LIMIT + [429]


def test_a_caller_that_waits_as_long_as_retry_after_says_may_try_again() -> None:
    clock = Clock()
    guesses = GuessLimit(LIMIT, clock)
    for _ in range(LIMIT):
        guesses.require_room("192.0.2.1", b"x")
        guesses.fail("192.0.2.1", b"x")

    with pytest.raises(TooManyFailuresError) as caught:
        guesses.require_room("192.0.2.1", b"x")
    guesses.require_room("192.0.2.2", b"x")
    clock.now += caught.value.retry_after_seconds

    guesses.require_room("192.0.2.1", b"x")


def test_addresses_and_good_keys_are_kept_in_bounds() -> None:
    guesses = GuessLimit(LIMIT, Clock())
    for number in range(MAX_ADDRESSES + 100):
        guesses.fail(str(number), b"x")
        guesses.succeed(str(number).encode())

    assert len(guesses._spent) == len(guesses._good) == MAX_ADDRESSES


async def test_a_line_of_the_log_says_who_asked_from_where(
    app: Starlette, client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    [key] = (await client.get("/api/apiKey.all")).json()
    async with open_client(app, "wharf_wrong-key") as nobody:
        capsys.readouterr()
        await client.get("/api/registry.all", headers={"x-request-id": "asked"})
        known = capsys.readouterr().out
        await nobody.get("/api/registry.all")
        unknown = capsys.readouterr().out
        await client.post("/api/registry.create", content=b"x" * 2_000_000)
        refused = capsys.readouterr().out

    for message in ("registry.all", "status=200", "milliseconds=", "request_id=asked"):
        assert message in plain(known)
    assert f"key_id={key['apiKeyId']}" in plain(known)
    assert f"organization={key['organizationId']}" in plain(known)
    assert "address=127.0.0.1" in plain(known)
    assert "status=401" in plain(unknown) and "address=127.0.0.1" in plain(unknown)
    assert "key_id" not in unknown
    assert "status=413" in plain(refused) and "registry.create" in plain(refused)
    assert ADMIN_KEY not in known + refused and "wrong-key" not in unknown


def plain(line: str) -> str:
    """A line without colours."""
    parts = line.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])
