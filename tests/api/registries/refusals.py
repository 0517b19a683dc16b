"""Pulls with a registry's login, which the registry refuses."""

import httpx2

from tests.api.fleet import TestServer

REFUSED = {
    "code": "auth_bad_credentials",
    "message": "cannot log in to ghcr.io",
    "retryable": False,
    "stage": "auth",
}


async def pull(client: httpx2.AsyncClient, registry_id: str, tag: int) -> str:
    """Ask for a pull, and return the job's id."""
    answer = await client.post(
        "/api/image.pull",
        json={"image": f"ghcr.io/acme/app:{tag}", "registryId": registry_id},
        headers={"Prefer": "respond-async"},
    )
    assert answer.is_success, answer.text
    return str(answer.json()["jobId"])


async def refuse_twice(client: httpx2.AsyncClient, server: TestServer, registry_id: str) -> None:
    """Let the registry refuse the login of two pulls: then it is sent nowhere any more."""
    for tag in (1, 2):
        await pull(client, registry_id, tag)
        await server.fail_next(REFUSED)
