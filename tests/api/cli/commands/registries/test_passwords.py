"""Passwords of registries come from a file, standard input or a prompt."""

import json
from pathlib import Path

import httpx2
import pytest

from shared.vault import KeyRing
from tests.api.asking import create_registry
from tests.api.cli.running import run
from tests.api.fleet import TestServer
from tests.api.registries.rotations.rotating import NEW, open_fleet
from tests.databases import Database

CREATE = ("registry", "create", "ours", "ghcr.io", "--username", "bob")


async def test_a_password_comes_from_a_file_or_standard_input(
    *,
    client: httpx2.AsyncClient,
    url: str,
    server: TestServer,
    database: Database,
    vault: KeyRing,
    tmp_path: Path,
) -> None:
    file = tmp_path / "password"
    file.write_text(f"{NEW}\n")
    async with open_fleet(client, server, database, vault) as fleet:
        created = await run(url, *CREATE, "--password-file", str(file))
        from_file = fleet.login()
        await run(url, "registry", "update", "ours", "--password-stdin", text="second\n")
        from_input = fleet.login()
        async with fleet.working():
            words = ("registry", "rotate", "ours", "--password-file", str(file))
            rotated = await run(url, *words)
            again = await run(url, *words[:3], "--password-stdin", text="third\r\n")

        assert (created.code, rotated.code, again.code) == (0, 0, 0)
        assert from_file == ("bob", NEW)
        assert from_input == ("bob", "second")
        assert fleet.login() == ("bob", "third")


@pytest.mark.parametrize(
    ("words", "text", "message"),
    [
        ((), "", "there is no password"),
        (("--password-stdin",), "\n", "the password is empty"),
        (("--password-file", "/nothing"), "", "/nothing cannot be read: No such file"),
        (("--password-stdin", "--password-file", "/x"), "a", "the password is given twice"),
    ],
)
async def test_a_missing_password_is_refused_before_anything_is_sent(
    client: httpx2.AsyncClient, url: str, words: tuple[str, ...], text: str, message: str
) -> None:
    refused = await run(url, *CREATE, *words, text=text)

    assert (refused.code, refused.out) == (1, "")
    assert message in refused.err
    assert (await client.get("/api/registry.all")).json() == []


async def test_the_credential_of_a_cloud_provider_comes_from_a_file(
    client: httpx2.AsyncClient, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "credential.json"
    host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    credential = {
        "kind": "ecr",
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "secretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }
    file.write_text(json.dumps(credential))

    created = await run(url, "registry", "create", "aws", host, "--credential-file", str(file))
    file.write_text(f"{{{credential['secretAccessKey']}")
    broken = await run(url, "registry", "update", "aws", "--credential-file", str(file))

    assert created.code == 0, created.err
    assert (broken.code, "credential.json is not JSON" in broken.err) == (1, True)
    assert credential["secretAccessKey"] not in broken.err


async def test_a_registry_is_listed_with_its_login(client: httpx2.AsyncClient, url: str) -> None:
    await create_registry(client, registryName="[red]ours")

    listed = await run(url, "registry", "list")

    assert listed.out.splitlines()[1].startswith("[red]ours  ghcr.io  github-username  ghcr.io/")
