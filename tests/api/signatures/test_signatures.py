"""Signing keys and signature policies, and the jobs that they lead to."""

from typing import Any

import httpx2
import pytest

from shared.jobs.commands import (
    ImageBuild,
    ImagePull,
    SignatureSign,
    SignatureVerify,
    parse_command,
)
from shared.signatures.keys import SigningKey
from shared.signatures.policy import SignaturePolicy
from shared.vault import KeyRing, SealContext
from tests.api.asking import create_application, create_registry
from tests.api.deploying import DIGEST, create_deployable, deploy, reconcile
from tests.api.fleet import TestServer
from tests.databases import Database

SPDX = "https://spdx.dev/Document"


async def ask(client: httpx2.AsyncClient, procedure: str, status: int = 200, **body: Any) -> Any:
    answer = await client.post(f"/api/{procedure}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def look(client: httpx2.AsyncClient, procedure: str, **params: Any) -> Any:
    answer = await client.get(f"/api/{procedure}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_new_key_pair_shows_its_public_key_and_seals_the_private_one(
    client: httpx2.AsyncClient, database: Database, vault: KeyRing
) -> None:
    created = await ask(client, "signingKey.create", name="release")

    [row] = database.execute("SELECT organization_id, private_key FROM signing_key")
    organization_id, sealed = map(str, row)
    context = SealContext("signing_key", organization_id, created["signingKeyId"], "", "")
    private = SigningKey.parse(vault.open(sealed, context))
    assert created["canSign"] and created["publicKey"] == private.public.pem
    assert created["fingerprint"] == private.public.fingerprint
    listed = await client.get("/api/signingKey.all")
    assert listed.json() == [created]
    assert "PRIVATE" not in listed.text and sealed not in listed.text


async def test_a_public_key_of_somebody_else_only_checks(client: httpx2.AsyncClient) -> None:
    public = SigningKey.generate().public
    registry = await create_registry(client)

    created = await ask(client, "signingKey.create", name="vendor", publicKey=public.pem)
    refused = await ask(
        client,
        "signature.sign",
        412,
        image=f"ghcr.io/myorg/app@{DIGEST}",
        registryId=registry["registryId"],
        signingKeyId=created["signingKeyId"],
    )

    assert not created["canSign"] and created["fingerprint"] == public.fingerprint
    assert refused["data"]["cause"]["code"] == "cannot_sign"


@pytest.mark.parametrize("text", ["no key", SigningKey.generate().pem])
async def test_what_is_no_public_key_is_refused(client: httpx2.AsyncClient, text: str) -> None:
    await ask(client, "signingKey.create", 400, name="vendor", publicKey=text)

    assert (await client.get("/api/signingKey.all")).json() == []


async def test_a_name_and_a_key_are_there_once(client: httpx2.AsyncClient) -> None:
    public = SigningKey.generate().public.pem
    await ask(client, "signingKey.create", name="release", publicKey=public)

    await ask(client, "signingKey.create", 409, name="RELEASE")
    await ask(client, "signingKey.create", 409, name="other", publicKey=public)


async def test_a_key_in_a_policy_is_not_removed(client: httpx2.AsyncClient) -> None:
    key = (await ask(client, "signingKey.create", name="release"))["signingKeyId"]
    await ask(client, "signaturePolicy.set", mode="warn", signingKeyIds=[key])

    refused = await ask(client, "signingKey.remove", 409, signingKeyId=key)
    await ask(client, "signaturePolicy.set")
    removed = await ask(client, "signingKey.remove", signingKeyId=key)

    assert refused["data"]["cause"]["code"] == "in_use"
    assert removed["signingKeyId"] == key


async def test_an_application_has_the_organizations_policy_until_it_gets_its_own(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    chosen = {"applicationId": (await create_deployable(client, [server]))["applicationId"]}
    key = (await ask(client, "signingKey.create", name="release"))["signingKeyId"]

    nothing = await look(client, "signaturePolicy.one", **chosen)
    await ask(client, "signaturePolicy.set", mode="enforce", signingKeyIds=[key])
    inherited = await look(client, "signaturePolicy.one", **chosen)
    own = await ask(client, "signaturePolicy.set", mode="warn", predicateTypes=[SPDX], **chosen)
    back = await ask(client, "signaturePolicy.set", inherit=True, **chosen)

    assert (nothing["mode"], nothing["source"]) == ("off", "organization")
    assert (inherited["mode"], inherited["signingKeyIds"]) == ("enforce", [key])
    assert (own["mode"], own["predicateTypes"], own["source"]) == ("warn", [SPDX], "application")
    assert back == inherited
    await ask(client, "signaturePolicy.set", 400, inherit=True)


async def test_the_pulls_of_a_deployment_wait_with_the_policy_for_control_s_check(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    application = await create_deployable(client, [server])
    key = await ask(client, "signingKey.create", name="release")
    await ask(
        client,
        "signaturePolicy.set",
        mode="enforce",
        signingKeyIds=[key["signingKeyId"]],
        predicateTypes=[SPDX],
    )

    deployed = await deploy(client, application["applicationId"])

    [row] = database.execute("SELECT command, job_id FROM job WHERE kind = 'image.pull'")
    command = ImagePull.model_validate(row[0])
    job = await look(client, "job.one", jobId=deployed["deploymentId"])
    assert (row[1], command.control_check) == (deployed["deploymentId"], "due")
    assert job["waiting"]["code"] == "signatures_unchecked"
    assert command.policy
    assert command.policy.public_keys == (key["publicKey"],)
    assert (command.policy.mode, command.policy.predicate_types) == ("enforce", (SPDX,))
    assert command.version == 2


async def test_a_ready_image_is_held_to_the_key_of_its_publisher(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    ours, theirs = [await ask(client, "signingKey.create", name=name) for name in ("us", "them")]
    publisher = {"prefix": "docker.io/library", "signingKeyIds": [theirs["signingKeyId"]]}
    await ask(
        client,
        "signaturePolicy.set",
        mode="enforce",
        signingKeyIds=[ours["signingKeyId"]],
        predicateTypes=[SPDX],
        publishers=[publisher],
    )
    refused = await ask(client, "signingKey.remove", 409, signingKeyId=theirs["signingKeyId"])
    found: list[SignaturePolicy] = []
    for image in ("nginx", "ghcr.io/acme/nginx"):
        chosen = {"dockerImage": f"{image}@{DIGEST}", "serverIds": [server.server_id]}
        application = await create_application(client, appName=f"app-{len(found)}", **chosen)
        body = {"applicationId": application["applicationId"]}
        await ask(client, "application.deploy", **body)
        [row] = database.execute(
            "SELECT command->'policy' FROM job JOIN deployment USING (deployment_id)"
            f" WHERE kind = 'image.pull' AND application_id = '{body['applicationId']}'"
        )
        found.append(SignaturePolicy.model_validate(row[0]))

    assert refused["data"]["cause"]["code"] == "in_use"
    assert [one.public_keys for one in found] == [(theirs["publicKey"],), (ours["publicKey"],)]
    assert [one.predicate_types for one in found] == [(), (SPDX,)]


async def test_rules_for_bases_alone_ask_for_no_signature_of_the_image(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    await ask(client, "signaturePolicy.set", mode="enforce", baseRegistries=["ghcr.io/acme"])

    await deploy(client, application["applicationId"])

    job = await server.next_job()
    command = parse_command(job.kind, job.command)
    assert isinstance(command, ImagePull)
    assert (command.policy, command.control_check) == (None, None)


async def test_an_image_is_verified_by_the_keys_that_its_deployment_asks_for(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    ours, theirs = [await ask(client, "signingKey.create", name=name) for name in ("us", "them")]
    publisher = {"prefix": "docker.io/library", "signingKeyIds": [theirs["signingKeyId"]]}
    await ask(
        client,
        "signaturePolicy.set",
        mode="warn",
        signingKeyIds=[ours["signingKeyId"]],
        predicateTypes=[SPDX],
        publishers=[publisher],
    )
    chosen = {"dockerImage": f"nginx@{DIGEST}", "serverIds": [server.server_id]}
    ready = (await create_application(client, **chosen))["applicationId"]
    found: list[SignaturePolicy] = []
    for extra in ({"applicationId": ready}, {}):
        params = {"image": f"ghcr.io/acme/nginx@{DIGEST}", **extra}
        headers = {"Prefer": "respond-async"}
        answer = await client.get("/api/signature.verify", params=params, headers=headers)
        assert answer.status_code == 202, answer.text
        job = await server.next_job()
        command = parse_command(job.kind, job.command)
        assert isinstance(command, SignatureVerify)
        found.append(command.policy)

    assert [one.public_keys for one in found] == [(theirs["publicKey"],), (ours["publicKey"],)]
    assert [one.predicate_types for one in found] == [(), (SPDX,)]


async def test_a_build_carries_the_rules_for_its_bases(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    await ask(client, "signaturePolicy.set", 400, mode="warn", baseRegistries=["no host"])
    await ask(client, "signaturePolicy.set", mode="warn", baseRegistries=["ghcr.io/acme"])

    await ask(client, "application.build", applicationId=application["applicationId"])

    job = await server.next_job()
    command = parse_command(job.kind, job.command)
    assert isinstance(command, ImageBuild) and command.base_policy
    assert (command.base_policy.mode, command.base_policy.allowed) == ("warn", ("ghcr.io/acme",))
    assert command.version == 3


async def test_a_deployment_without_a_policy_needs_no_new_worker(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    await ask(client, "signaturePolicy.set", mode="off")

    await deploy(client, application["applicationId"])

    job = await server.next_job()
    command = parse_command(job.kind, job.command)
    assert isinstance(command, ImagePull)
    assert (command.policy, command.version) == (None, 1)


async def test_a_refused_signature_fails_the_deployment_with_its_code(
    client: httpx2.AsyncClient, server: TestServer
) -> None:
    application = await create_deployable(client, [server])
    deployed = await deploy(client, application["applicationId"])

    await server.fail_next(
        {"code": "signature_missing", "message": "not signed", "remedy": "Sign it."}
    )
    await reconcile(server)

    chosen = {"deploymentId": deployed["deploymentId"]}
    shown = (await client.get("/api/deployment.one", params=chosen)).json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "signature_missing")


async def test_an_image_is_signed_by_its_digest_only(client: httpx2.AsyncClient) -> None:
    registry = await create_registry(client)
    key = await ask(client, "signingKey.create", name="release")
    chosen = {"registryId": registry["registryId"], "signingKeyId": key["signingKeyId"]}

    await ask(client, "signature.sign", 400, image="ghcr.io/myorg/app:1", **chosen)
    await ask(client, "signature.sign", 400, image=f"quay.io/myorg/app@{DIGEST}", **chosen)


async def test_a_signature_is_requested_from_a_server_with_the_sealed_key(
    client: httpx2.AsyncClient, server: TestServer, database: Database
) -> None:
    registry = await create_registry(client)
    key = await ask(client, "signingKey.create", name="release")
    headers = {"Prefer": "respond-async"}
    body = {
        "image": f"{registry['registryUrl']}/myorg/app@{DIGEST}",
        "registryId": registry["registryId"],
        "signingKeyId": key["signingKeyId"],
    }

    answer = await client.post("/api/signature.sign", json=body, headers=headers)

    assert answer.status_code == 202, answer.text
    job = await server.next_job()
    command = parse_command(job.kind, job.command)
    assert isinstance(command, SignatureSign)
    assert command.fingerprint == key["fingerprint"] and "PRIVATE" not in str(job.command)
    assert database.execute("SELECT purpose FROM job_secret WHERE attempt = 0") == [
        ("signing_key",)
    ]


async def test_a_retired_key_signs_no_more_and_stays_in_its_policy(
    client: httpx2.AsyncClient,
) -> None:
    registry = await create_registry(client)
    key = await ask(client, "signingKey.create", name="release")
    await ask(client, "signaturePolicy.set", mode="warn", signingKeyIds=[key["signingKeyId"]])

    retired = await ask(client, "signingKey.retire", signingKeyId=key["signingKeyId"])
    refused = await ask(
        client,
        "signature.sign",
        412,
        image=f"ghcr.io/myorg/app@{DIGEST}",
        registryId=registry["registryId"],
        signingKeyId=key["signingKeyId"],
    )

    assert retired["retiredAt"]
    assert refused["data"]["cause"]["code"] == "cannot_sign"
    assert (await look(client, "signaturePolicy.one"))["signingKeyIds"] == [key["signingKeyId"]]
