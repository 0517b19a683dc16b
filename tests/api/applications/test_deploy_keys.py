"""Deploy keys and host keys of applications: stored sealed, checked, bound to their host."""

from typing import Any

import httpx2
import pytest

from shared.ssh.keys import DeployKey, show_fingerprint
from shared.vault import KeyRing, SealContext
from tests.api.asking import create_application, create_registry, show_application
from tests.api.fleet import TestServer
from tests.databases import Database

URL = "git@git.example.com:myorg/app.git"
FINGERPRINT = show_fingerprint(DeployKey.generate().blob)
KEY = DeployKey.generate()


async def save(client: httpx2.AsyncClient, application_id: str, **fields: Any) -> httpx2.Response:
    body = {"applicationId": application_id, "customGitUrl": URL, **fields}
    return await client.post("/api/application.saveGitProvider", json=body)


async def generate(client: httpx2.AsyncClient, application_id: str) -> httpx2.Response:
    body = {"applicationId": application_id}
    return await client.post("/api/application.generateDeployKey", json=body)


@pytest.fixture
async def application_id(client: httpx2.AsyncClient) -> str:
    return str((await create_application(client))["applicationId"])


def stored(database: Database) -> tuple[Any, ...]:
    [row] = database.execute(
        "SELECT organization_id, application_id, git_host, git_ssh_key FROM application"
    )
    return row


async def test_a_generated_key_is_sealed_and_only_its_public_half_is_shown(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing, application_id: str
) -> None:
    await save(client, application_id)

    made = await generate(client, application_id)

    organization_id, stored_id, host, sealed = stored(database)
    context = SealContext("git_ssh_key", organization_id, stored_id, host, "git")
    private = DeployKey.parse(vault.open(sealed, context))
    shown = await show_application(client, application_id)
    assert made.json()["publicKey"] == shown["customGitSSHPublicKey"] == private.public_line
    assert made.json()["fingerprint"] == shown["customGitSSHFingerprint"]
    assert made.json()["host"] == "git.example.com"
    everything = made.text + str(shown) + str(database.execute("SELECT * FROM audit_event"))
    assert "PRIVATE" not in everything
    assert "generateDeployKey" in everything
    assert private.to_text().splitlines()[2] not in everything


async def test_a_key_and_host_keys_that_are_given_are_stored(
    client: httpx2.AsyncClient, database: Database, application_id: str
) -> None:
    line = f"git.example.com {DeployKey.generate().public_line}"

    first = await save(client, application_id)
    answer = await save(
        client, application_id, customGitSSHKey=KEY.to_text(), customGitHostKey=f"{line}\n"
    )
    shown = await show_application(client, application_id)
    await save(client, application_id, customGitSSHKey=None, customGitHostKey=None)

    assert "builds need a deploy key" in first.headers["x-wharf-warnings"]
    assert "customGitHostKey" in first.headers["x-wharf-warnings"]
    assert "x-wharf-warnings" not in answer.headers
    assert shown["customGitSSHPublicKey"] == KEY.public_line
    assert shown["customGitHostKey"].startswith("SHA256:")
    assert stored(database)[-1] is None
    assert (await show_application(client, application_id))["customGitHostKey"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"customGitUrl": "git@other.example:myorg/app.git"},
        {"customGitUrl": "ssh://git@git.example.com:2222/myorg/app.git"},
        {"customGitUrl": "me@git.example.com:myorg/app.git"},
    ],
)
async def test_another_host_or_user_needs_the_key_again(
    client: httpx2.AsyncClient, database: Database, application_id: str, change: dict[str, str]
) -> None:
    keys = {"customGitSSHKey": KEY.to_text(), "customGitHostKey": FINGERPRINT}
    await save(client, application_id, **keys)
    before = database.execute("SELECT * FROM application")

    refused = await save(client, application_id, **change)
    after = database.execute("SELECT * FROM application")
    taken = await save(client, application_id, **{**keys, **change})
    other = await save(client, application_id, customGitUrl=f"{change['customGitUrl']}2")

    assert refused.json()["data"]["cause"]["code"] == "password_needed"
    assert after == before
    assert taken.json() is other.json() is True
    assert (await show_application(client, application_id))["customGitHostKey"] == FINGERPRINT


async def test_host_keys_are_not_kept_for_another_host(
    client: httpx2.AsyncClient, application_id: str
) -> None:
    await save(client, application_id, customGitHostKey=FINGERPRINT)

    await save(client, application_id, customGitUrl="git@other.example:a.git")

    assert (await show_application(client, application_id))["customGitHostKey"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"customGitSSHKey": "hush"},
        {"customGitHostKey": "hush"},
        {"customGitHostKey": f"other.example {KEY.public_line}"},
        {"customGitToken": "hush"},
        {"customGitUrl": "https://git.example.com/a.git", "customGitSSHKey": KEY.to_text()},
        {"customGitUrl": "https://git.example.com/a.git", "customGitHostKey": FINGERPRINT},
        {"customGitUrl": "git@127.0.0.1:-x"},
        {"customGitUrl": "git@169.254.169.254:a"},
        {"customGitUrl": "git@-oProxyCommand=hush:a"},
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_is_written(
    client: httpx2.AsyncClient, database: Database, application_id: str, fields: dict[str, str]
) -> None:
    before = database.execute("SELECT * FROM application")

    answer = await save(client, application_id, **fields)

    assert answer.status_code == 400, answer.text
    assert answer.json()["data"]["cause"]["remedy"]
    assert "hush" not in answer.text or "customGitHostKey" in fields
    assert database.execute("SELECT * FROM application") == before


async def test_a_login_of_one_protocol_does_not_stay_with_the_other(
    client: httpx2.AsyncClient, application_id: str
) -> None:
    https = {"customGitUrl": "https://git.example.com/a.git"}
    await save(client, application_id, customGitSSHKey=KEY.to_text())

    kept = await save(client, application_id, **https)
    given = await save(client, application_id, **https, customGitSSHKey=None)
    await save(client, application_id, **https, customGitToken="secret")
    token_kept = await save(client, application_id)
    token_taken = await save(client, application_id, customGitToken=None)

    assert (kept.status_code, token_kept.status_code) == (400, 400)
    assert given.json() is token_taken.json() is True


async def test_a_key_is_generated_for_a_repository_behind_ssh_only(
    client: httpx2.AsyncClient, application_id: str
) -> None:
    await save(client, application_id, customGitUrl="https://git.example.com/a.git")

    refused = await generate(client, application_id)

    assert refused.status_code == 400
    assert "git@host:path.git" in refused.json()["data"]["cause"]["remedy"]


async def test_a_build_gets_the_sealed_key_and_the_host_keys_and_needs_a_key(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> None:
    registry = await create_registry(client)
    made = await create_application(
        client, buildRegistryId=registry["registryId"], buildServerId=server.server_id
    )
    body = {"applicationId": made["applicationId"]}
    await save(client, made["applicationId"], customGitHostKey=FINGERPRINT)

    without = await client.post("/api/application.build", json=body)
    await generate(client, made["applicationId"])
    accepted = await client.post("/api/application.build", json=body)

    assert without.status_code == 400
    assert "has no deploy key" in without.text
    assert accepted.status_code == 200, accepted.text
    source: Any
    [(source, purpose)] = database.execute(
        "SELECT j.command->'source', s.purpose FROM job j JOIN job_secret s USING (job_id)"
    )
    assert source["host_keys"] == [FINGERPRINT]
    assert (source["url"], source["username"], purpose) == (URL, "git", "git_ssh_key")
