import asyncio
import hashlib
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from shared.vault import PrivateKey
from tests.api.asking import open_client
from tests.api.fleet import TestServer, enrol, make_verifier
from tests.databases import Database

OLD = "UPDATE server_token SET expires_at = now() - interval '1 second'"


async def test_a_join_token_is_shown_once_and_kept_as_a_hash(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    token = created["joinToken"]
    [(stored, minutes)] = database.execute(
        "SELECT token_hash, round(extract(epoch FROM expires_at - now()) / 60)::int"
        " FROM server_token"
    )
    assert stored == hashlib.sha256(hashlib.sha256(token.encode()).digest()).digest()
    assert minutes == 15
    shown = await client.get("/api/server.one", params={"serverId": created["serverId"]})
    assert "joinToken" not in shown.json()
    assert (shown.json()["online"], shown.json()["seenAt"]) == (False, None)


async def test_an_enrolled_server_that_says_hello_is_online(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    [shown] = (await client.get("/api/server.all")).json()

    assert shown["serverId"] == server.server_id
    assert shown["online"] is True
    assert shown["offlineSince"] is None
    assert shown["engine"] == {"engineVersion": "28.0.0", "insecureRegistries": []}


async def test_a_server_not_seen_for_a_while_is_offline_since_then(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    database.execute("UPDATE server SET seen_at = now() - interval '20 seconds'")

    [shown] = (await client.get("/api/server.all")).json()

    assert shown["online"] is False
    assert shown["offlineSince"] == shown["seenAt"] is not None


async def test_the_answer_to_an_enrolment_says_who_and_where_without_passwords(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    answer = await enrol(client, created["joinToken"])

    assert answer.json() == {
        "serverId": created["serverId"],
        "organizationId": created["organizationId"],
        "databaseUrl": database.network_url(),
        "brokerUrl": "redis://127.0.0.1:6379/0",
    }
    actions = database.execute("SELECT action FROM audit_event ORDER BY audit_event_id")
    assert actions == [("server.create",), ("server.enroll",)]


async def test_of_a_password_for_the_broker_only_the_hash_is_kept(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    await enrol(client, created["joinToken"], "of the server")

    [(stored,)] = database.execute("SELECT broker_hash FROM server_enrolment")
    assert stored == hashlib.sha256(b"of the server").hexdigest()


async def test_a_worker_from_before_broker_users_may_still_join(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    proof = {"publicKey": GOOD_KEY, "roleVerifier": make_verifier("p")}

    answer = await client.post(
        "/api/server.enroll", json={"joinToken": created["joinToken"], **proof}
    )

    assert answer.status_code == 200
    assert database.execute("SELECT broker_hash FROM server_enrolment") == [(None,)]


async def test_a_token_works_once(client: httpx2.AsyncClient, database: Database) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    answers = await asyncio.gather(*(enrol(client, created["joinToken"]) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    assert len(database.execute("SELECT * FROM server_enrolment")) == 1


async def test_an_old_or_made_up_token_is_401(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    database.execute(OLD)

    answers = [await enrol(client, created["joinToken"]), await enrol(client, "wharf_join_no")]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert database.execute("SELECT * FROM server_enrolment") == []


async def test_the_token_of_a_removed_server_is_401(client: httpx2.AsyncClient) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    await client.post("/api/server.remove", json={"serverId": created["serverId"]})

    assert (await enrol(client, created["joinToken"])).status_code == 401


GOOD_KEY = str(PrivateKey.generate().public)


@pytest.mark.parametrize(
    "proof",
    [
        {"publicKey": "no key", "roleVerifier": make_verifier("p")},
        {"publicKey": "wharf-public-v1." + "A" * 43, "roleVerifier": make_verifier("p")},
        {"publicKey": GOOD_KEY, "roleVerifier": "a password in clear"},
        {"publicKey": GOOD_KEY, "roleVerifier": "md5" + "0" * 32},
        {"publicKey": GOOD_KEY, "roleVerifier": make_verifier("p") + "'; DROP ROLE x; --"},
        {"publicKey": GOOD_KEY, "roleVerifier": make_verifier("p").replace("4096", "1")},
        {"publicKey": GOOD_KEY, "roleVerifier": make_verifier("p") + "\n"},
        {"publicKey": GOOD_KEY},
        {
            "publicKey": GOOD_KEY,
            "roleVerifier": make_verifier("p"),
            "brokerPasswordHash": "in clear",
        },
        {"publicKey": GOOD_KEY, "roleVerifier": make_verifier("p"), "brokerPasswordHash": "A" * 64},
    ],
)
async def test_a_bad_proof_is_refused_and_leaves_the_token_good(
    client: httpx2.AsyncClient, proof: dict[str, Any]
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    token = {"joinToken": created["joinToken"]}

    refused = await client.post("/api/server.enroll", json={**token, **proof})

    assert refused.status_code == 400
    assert created["joinToken"] not in refused.text
    assert (await enrol(client, created["joinToken"])).status_code == 200


async def test_enrolment_asks_for_no_api_key_in_any_dialect(app: Starlette) -> None:
    async with open_client(app, None) as nobody:
        proof = {"joinToken": "x", "publicKey": GOOD_KEY, "roleVerifier": make_verifier("p")}
        bare = await nobody.post("/api/trpc/server.enroll", json=proof)
        strict = await nobody.post("/api/trpc/server.enroll", json={"json": proof})

    assert "join token" in bare.json()["message"]
    assert "join token" in strict.json()["error"]["json"]["message"]


async def test_two_servers_of_one_name_are_a_conflict(client: httpx2.AsyncClient) -> None:
    first = (await client.post("/api/server.create", json={"name": "alpha"})).json()

    second = await client.post("/api/server.create", json={"name": "alpha"})

    assert (second.status_code, second.json()["data"]["cause"]["code"]) == (409, "name_taken")
    await client.post("/api/server.remove", json={"serverId": first["serverId"]})
    assert (await client.post("/api/server.create", json={"name": "alpha"})).status_code == 200


async def test_a_removed_server_is_gone(client: httpx2.AsyncClient, server: TestServer) -> None:
    chosen = {"serverId": server.server_id}

    first = await client.post("/api/server.remove", json=chosen)
    second = await client.post("/api/server.remove", json=chosen)

    assert (first.status_code, first.json()["name"]) == (200, "alpha")
    assert second.status_code == 404
    assert (await client.get("/api/server.one", params=chosen)).status_code == 404
    assert (await client.get("/api/server.all")).json() == []


async def test_a_drained_server_is_asked_for_its_transfers_and_sent_nothing(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    chosen = {"serverId": server.server_id}
    await client.post("/api/image.pull", json={"image": "nginx"})
    job = await server.next_job()
    running = {"job_id": job.job_id, "attempt": job.attempt}
    heartbeat = {"incarnation": server.incarnation, "jobs": [running]}
    before = await server.call("heartbeat", heartbeat)

    drained = (await client.post("/api/server.drain", json=chosen)).json()
    after = await server.call("heartbeat", heartbeat)
    await server.finish(job, "returned")
    left = await server.release()
    resumed = (await client.post("/api/server.resume", json=chosen)).json()

    assert [each["jobs"][0]["hand_back"] for each in (before, after)] == [False, True]
    assert drained["pausedClasses"] == ["build", "quick", "transfer"]
    assert drained["drainRequestedAt"] == drained["pausedAt"] is not None
    assert left == []
    assert (resumed["pausedClasses"], resumed["drainRequestedAt"]) == ([], None)
    assert (await server.next_job()).job_id == job.job_id


async def test_a_paused_server_is_sent_nothing_until_it_goes_on(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    chosen = {"serverId": server.server_id}
    pull = {"image": "nginx"}

    paused = (await client.post("/api/server.pause", json=chosen)).json()
    waiting = (await client.post("/api/image.pull", json=pull)).json()["jobId"]
    shown = (await client.get("/api/job.one", params={"jobId": waiting})).json()
    resumed = (await client.post("/api/server.resume", json=chosen)).json()

    assert paused["pausedClasses"] == ["build", "quick", "transfer"]
    assert shown["waiting"]["code"] == "paused"
    assert shown["waiting"]["since"] == paused["pausedAt"] is not None
    assert (resumed["pausedClasses"], resumed["pausedAt"]) == ([], None)
    assert (await server.next_job()).job_id == waiting
    actions = database.execute(
        "SELECT action FROM audit_event WHERE action LIKE 'server.%%' ORDER BY audit_event_id"
    )
    assert actions[-2:] == [("server.pause",), ("server.resume",)]


async def test_the_classes_of_a_server_are_paused_one_by_one(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    async def change(name: str, *job_class: str) -> list[str]:
        body = {"serverId": server.server_id, **({"jobClass": job_class[0]} if job_class else {})}
        classes: list[str] = (await client.post(f"/api/{name}", json=body)).json()["pausedClasses"]
        return classes

    assert await change("server.pause", "transfer") == ["transfer"]
    since = (await client.get("/api/server.all")).json()[0]["pausedAt"]
    assert await change("server.pause", "transfer") == ["transfer"]
    assert await change("server.pause", "quick") == ["quick", "transfer"]
    assert await change("server.resume", "transfer") == ["quick"]
    assert (await client.get("/api/server.all")).json()[0]["pausedAt"] == since
    assert await change("server.resume") == []


async def test_a_class_that_does_not_exist_is_400(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    body = {"serverId": server.server_id, "jobClass": "slow"}

    assert (await client.post("/api/server.pause", json=body)).status_code == 400


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("paused_classes = '{quick}', paused_at = now()", ("server_paused", "is paused")),
        ("draining = true", ("server_offline", "is offline")),
        ("approved_at = NULL", ("server_not_approved", "is not approved")),
    ],
)
async def test_nobody_is_kept_waiting_for_a_server_that_takes_nothing(
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    state: str,
    found: tuple[str, str],
) -> None:
    code, shown = found
    database.execute(f"UPDATE server SET {state}")
    body = {"source": "app:1", "target": "app:2"}

    named = await client.post("/api/image.tag", json={**body, "serverId": server.server_id})
    unnamed = await client.post("/api/image.tag", json=body)

    assert (named.status_code, named.json()["data"]["cause"]["code"]) == (412, code)
    assert unnamed.json()["data"]["cause"]["code"] == "no_server"
    assert unnamed.json()["message"] == (f"no deploy server can take it now: alpha {shown}")


async def test_a_server_whose_worker_drains_says_so(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    heartbeat = {"incarnation": server.incarnation, "jobs": []}
    await server.call("heartbeat", {**heartbeat, "draining": True})
    draining = (await client.get("/api/server.all")).json()[0]
    await server.call("heartbeat", {**heartbeat, "leaving": True})
    gone = (await client.get("/api/server.all")).json()[0]

    assert (draining["draining"], draining["online"]) == (True, True)
    assert gone["online"] is False


async def test_a_server_builds_and_deploys_by_default(client: httpx2.AsyncClient) -> None:
    both = (await client.post("/api/server.create", json={"name": "both"})).json()
    body = {"name": "forge", "roles": ["build", "build"]}
    forge = (await client.post("/api/server.create", json=body)).json()
    body = {"name": "dock", "roles": ["deploy"]}
    await client.post("/api/server.create", json=body)

    builders = (await client.get("/api/server.buildServers")).json()

    assert (both["roles"], forge["roles"]) == (["build", "deploy"], ["build"])
    assert [server["name"] for server in builders] == ["both", "forge"]


@pytest.mark.parametrize("roles", [[], ["rule"], "build", None])
async def test_a_server_for_nothing_or_for_something_else_is_400(
    client: httpx2.AsyncClient, roles: object
) -> None:
    answer = await client.post("/api/server.create", json={"name": "alpha", "roles": roles})

    assert answer.status_code == 400


async def test_an_update_changes_what_it_names(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    chosen = {"serverId": server.server_id}

    renamed = (await client.post("/api/server.update", json={**chosen, "name": "beta"})).json()
    body = {**chosen, "roles": ["build"], "description": "in the cellar"}
    changed = (await client.post("/api/server.update", json=body)).json()

    assert (renamed["name"], renamed["description"], renamed["online"]) == ("beta", "", True)
    assert (changed["name"], changed["description"]) == ("beta", "in the cellar")
    assert changed["roles"] == ["build"]
    [(data,)] = database.execute(
        "SELECT data FROM audit_event WHERE action = 'server.update' ORDER BY at DESC LIMIT 1"
    )
    assert data == {"changed": ["description", "roles"]}


async def test_a_server_does_not_get_the_name_of_another(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    await client.post("/api/server.create", json={"name": "beta"})

    answer = await client.post(
        "/api/server.update", json={"serverId": server.server_id, "name": "beta"}
    )

    assert (answer.status_code, answer.json()["data"]["cause"]["code"]) == (409, "name_taken")


async def test_a_server_that_only_builds_is_not_chosen_for_somebody_who_names_none(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    body = {"serverId": server.server_id, "roles": ["build"]}
    await client.post("/api/server.update", json=body)

    answer = await client.post("/api/image.tag", json={"source": "app:1", "target": "app:2"})

    assert answer.json()["data"]["cause"]["code"] == "no_server"


async def test_the_engine_and_clock_of_a_heartbeat_are_shown(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    heartbeat = {"incarnation": server.incarnation, "jobs": []}
    engine = {"engine_version": "29", "os": "linux", "architecture": "arm64"}

    await server.call("heartbeat", {**heartbeat, "engine": engine, "clock_ahead_seconds": -0.25})
    listed = (await client.get("/api/server.all")).json()[0]
    await server.call("heartbeat", {**heartbeat, "engine": None, "clock_ahead_seconds": "soon"})
    stored = (await client.get("/api/server.all")).json()[0]
    await server.call("heartbeat", {**heartbeat, "engine": {}})
    away = (await client.get("/api/server.all")).json()[0]

    for shown in (listed, stored):
        assert (shown["platform"], shown["clockAheadSeconds"]) == ("linux/arm64", -0.25)
        assert shown["engine"]["engineVersion"] == "29"
    assert (away["platform"], away["engine"]) == (None, {})


async def test_a_server_that_has_not_joined_gets_another_token_that_works(
    client: httpx2.AsyncClient, database: Database
) -> None:
    created = (await client.post("/api/server.create", json={"name": "alpha"})).json()
    database.execute("UPDATE server_token SET expires_at = now()")
    expired = await enrol(client, created["joinToken"])

    chosen = {"serverId": created["serverId"]}
    renewed = (await client.post("/api/server.createJoinToken", json=chosen)).json()
    joined = await enrol(client, renewed["joinToken"])

    assert expired.status_code == 401
    assert joined.status_code == 200
    assert joined.json()["serverId"] == created["serverId"]
    assert database.execute(
        "SELECT count(*) FROM audit_event WHERE action = 'server.createJoinToken'"
    ) == [(1,)]


async def test_a_server_that_has_joined_gets_no_other_token(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    chosen = {"serverId": server.server_id}

    refused = await client.post("/api/server.createJoinToken", json=chosen)

    assert refused.status_code == 409
    assert refused.json()["data"]["cause"]["code"] == "already_joined"
    assert "wharf server remove" in refused.json()["data"]["cause"]["remedy"]


async def test_a_name_that_is_taken_says_how_to_renew_the_token(
    client: httpx2.AsyncClient,
) -> None:
    await client.post("/api/server.create", json={"name": "alpha"})

    refused = await client.post("/api/server.create", json={"name": "alpha"})

    assert refused.status_code == 409
    assert "wharf server create NAME --renew" in refused.json()["data"]["cause"]["remedy"]


async def test_anybody_may_ask_whether_a_server_was_removed(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    async def is_removed(server_id: str) -> bool:
        answer = await client.get(
            "/api/server.isRemoved", params={"serverId": server_id}, headers={"x-api-key": ""}
        )
        assert answer.status_code == 200
        message: bool = answer.json()
        return message

    before = await is_removed(server.server_id), await is_removed("unknown")
    await client.post("/api/server.remove", json={"serverId": server.server_id})

    assert before == (False, False)
    assert await is_removed(server.server_id)
