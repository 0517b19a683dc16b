"""The pages of signing: keys, policies, and what is proved about an image."""

import asyncio
from typing import Any

import httpx2

from shared.signatures.keys import SigningKey
from tests.api.asking import create_application, create_registry
from tests.api.cli.working import working
from tests.api.console.browsing import Browser
from tests.api.deploying import DIGEST
from tests.api.fleet import TestServer
from tests.waiting import wait_until

IMAGE = f"ghcr.io/myorg/my-app@{DIGEST}"
SPDX = "https://spdx.dev/Document"


async def read(client: httpx2.AsyncClient, procedure: str, **chosen: Any) -> Any:
    answer = await client.get(f"/api/{procedure}", params=chosen)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_keys_are_made_added_retired_and_removed(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    assert "There is no signing key yet" in (await owner.get("/signing")).text
    public = SigningKey.generate().public

    await owner.post("/signing", name="release")
    await owner.post("/signing", name="them", publicKey=public.pem)
    bad = await owner.post("/signing", name="no", publicKey="no key")
    ours, theirs = await read(client, "signingKey.all")
    await owner.post(f"/signing/{ours['signingKeyId']}/retire")
    shown = (await owner.get("/signing")).text
    asked = (await owner.get(f"/signing/{theirs['signingKeyId']}/remove")).text
    await owner.post(f"/signing/{theirs['signingKeyId']}/remove")

    assert (ours["canSign"], theirs["fingerprint"]) == (True, public.fingerprint)
    assert bad.status_code == 400 and "not a public key" in bad.text and "no key" in bad.text
    assert "retired" in shown and "checks only" in shown and "PRIVATE" not in shown
    assert "Remove the key them?" in asked
    assert [key["name"] for key in await read(client, "signingKey.all")] == ["release"]


async def test_the_policy_of_the_organization_and_of_an_application_are_set(
    owner: Browser, client: httpx2.AsyncClient
) -> None:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    path = f"/applications/{chosen['applicationId']}/signing"
    await owner.get("/signing")
    await owner.post("/signing", name="release")
    [key] = await read(client, "signingKey.all")
    await owner.get("/signing")
    form = {
        "mode": "enforce",
        f"key:{key['signingKeyId']}": "true",
        "predicateTypes": f"{SPDX}\n",
        "baseRegistries": "ghcr.io\ndocker.io/library",
        "publishers": "docker.io/library = Release",
    }

    await owner.post("/signing/policy", **form)
    wrong = await owner.post("/signing/policy", **form | {"publishers": "docker.io = nobody"})
    inherited = (await owner.get(path)).text
    await owner.post(path, mode="warn")
    own = await read(client, "signaturePolicy.one", **chosen)
    of_all = await read(client, "signaturePolicy.one")
    shown = (await owner.get(path)).text
    await owner.post(f"{path}/inherit")

    assert of_all == {
        "mode": "enforce",
        "signingKeyIds": [key["signingKeyId"]],
        "predicateTypes": [SPDX],
        "baseRegistries": ["ghcr.io", "docker.io/library"],
        "publishers": [{"prefix": "docker.io/library", "signingKeyIds": [key["signingKeyId"]]}],
        "source": "organization",
    }
    assert wrong.status_code == 400 and "names no key" in wrong.text
    assert "has the <a" in inherited and "docker.io/library = release" in inherited
    assert (own["mode"], own["signingKeyIds"], own["source"]) == ("warn", [], "application")
    assert "a policy of its own" in shown
    assert (await read(client, "signaturePolicy.one", **chosen))["source"] == "organization"


async def test_two_who_change_a_policy_do_not_overwrite_one_another(owner: Browser) -> None:
    seen = '{"mode": "warn"}'
    await owner.get("/signing")

    refused = await owner.post("/signing/policy", mode="enforce", seen=seen)

    assert refused.status_code == 409 and "mode: warn → off" in refused.text


async def test_an_image_is_verified_and_signed(
    owner: Browser, client: httpx2.AsyncClient, server: TestServer
) -> None:
    registry = await create_registry(client)
    await owner.get("/signing")
    await owner.post("/signing", name="release")
    [key] = await read(client, "signingKey.all")
    async with working(server) as done:
        verified = await owner.get(
            "/signing/verify", image=IMAGE, registryId=registry["registryId"]
        )
        signed = await owner.post(
            "/signing/sign",
            image=IMAGE,
            registryId=registry["registryId"],
            signingKeyId=key["signingKeyId"],
        )
        await wait_until(lambda: "signature.sign" in [job.kind for job in done])

    assert "verified" in verified.text and "Sign this digest with" in verified.text
    assert "sha256:5" in verified.text and "release" in verified.text
    assert signed.status_code == 303 and key["signingKeyId"] in signed.headers["location"]


async def test_what_is_missing_is_named(owner: Browser, server: TestServer) -> None:
    violation = {"code": "signature_missing", "message": "it has no signature"}
    result = {"reference": IMAGE, "digest": DIGEST, "proofs": [], "gaps": ["a gap"]}

    asking = asyncio.create_task(owner.get("/signing/verify", image=IMAGE))
    await server.succeed_next(result | {"violations": [violation]})
    refused = await asking

    assert refused.status_code == 200 and "signature_missing" in refused.text
    assert "Nothing is proved about it." in refused.text and "a gap" in refused.text


async def test_a_viewer_sees_keys_and_policy_and_changes_nothing(
    owner: Browser, viewer: Browser
) -> None:
    await owner.get("/signing")
    await owner.post("/signing", name="release")

    page = (await viewer.get("/signing")).text
    refused = await viewer.post("/signing", name="other")

    assert "release" in page and "<dt>Mode</dt>" in page
    assert 'action="/console/signing' not in page and "Add a key" not in page
    assert refused.status_code == 403
