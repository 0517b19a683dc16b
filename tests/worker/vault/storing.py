"""Have the API store a secret of every kind that the vault's key opens."""

from typing import Any

import httpx2
import trustme

from tests.api.asking import create_application, create_registry
from tests.api.fleet import TestServer

ECR_HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ECR_KEYS = {
    "kind": "ecr",
    "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
    "secretAccessKey": "its-secret",
}
LAN = "registry.lan:5000"
ASYNC = {"prefer": "respond-async"}
VARIABLES = {"env": "TOKEN=in-the-environment", "buildSecrets": "TOKEN=of-the-build"}


async def store_everything(client: httpx2.AsyncClient, server: TestServer) -> None:
    """Store registries, webhooks and applications, and submit jobs that are given secrets."""
    await _store_registries(client)
    await _post(client, "webhook.create", url="https://hooks.example/x")
    await _submit_tests(client)
    await _store_applications(client, server)
    await _sign(client)


async def _store_registries(client: httpx2.AsyncClient) -> None:
    plain = await create_registry(client)
    await create_registry(client, registryUrl=LAN, imagePrefix=None, **_client_pair())
    of_source = {"registryName": "ECR", "registryUrl": ECR_HOST, "credential": ECR_KEYS}
    minted = await _post(client, "registry.create", **of_source)
    staged = {"registryId": plain["registryId"], "password": "the next one"}
    await _post(client, "registry.rotate", **staged)
    # The source is the login that is kept.
    replaced = {"registryId": minted["registryId"], "username": "AWS", "password": "another"}
    await _post(client, "registry.update", **replaced)
    await _post(client, "registry.create", **of_source)


async def _submit_tests(client: httpx2.AsyncClient) -> None:
    login = {"registryUrl": "other.lan:5000", "username": "me", "password": "given-once"}
    await _post(client, "registry.testRegistry", **login, **_client_pair())
    await _post(client, "registry.testRegistry", registryUrl=ECR_HOST, credential=ECR_KEYS)


async def _store_applications(client: httpx2.AsyncClient, server: TestServer) -> None:
    registry = await create_registry(client, registryUrl="quay.io", imagePrefix="team")
    for name, git in (
        ("https", {"customGitUrl": "https://git.example/a.git", "customGitToken": "git-token"}),
        ("ssh", {"customGitUrl": "git@git.example:a.git"}),
    ):
        made = await create_application(
            client,
            name=name,
            buildRegistryId=registry["registryId"],
            buildServerId=server.server_id,
            serverIds=[server.server_id],
        )
        chosen = {"applicationId": made["applicationId"]}
        await _post(client, "application.saveGitProvider", **chosen, **git)
        if name == "ssh":
            await _post(client, "application.generateDeployKey", **chosen)
        await _post(client, "application.saveEnvironment", **chosen, **VARIABLES)
        await _post(client, "application.deploy", **chosen)


async def _sign(client: httpx2.AsyncClient) -> None:
    registry = await create_registry(client, registryUrl="signed.lan:5000", imagePrefix=None)
    key = await _post(client, "signingKey.create", name="release")
    await _post(
        client,
        "signature.sign",
        image=f"signed.lan:5000/team/app@sha256:{'1' * 64}",
        registryId=registry["registryId"],
        signingKeyId=key["signingKeyId"],
    )


def _client_pair() -> dict[str, str]:
    made = trustme.CA().issue_cert("robot.example.test")
    return {
        "clientCertificate": made.cert_chain_pems[0].bytes().decode(),
        "clientKey": made.private_key_pem.bytes().decode(),
    }


async def _post(client: httpx2.AsyncClient, procedure: str, **body: Any) -> Any:
    answer = await client.post(f"/api/{procedure}", json=body, headers=ASYNC)
    assert answer.is_success, (procedure, answer.text)
    return answer.json()
