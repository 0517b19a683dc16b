"""``wharf signing-key`` and ``wharf policy``, against a real API."""

from pathlib import Path

import httpx2

from shared.signatures.keys import PublicKey, SigningKey
from tests.api.cli.running import run


async def test_a_key_is_made_shown_retired_and_removed(
    client: httpx2.AsyncClient, url: str, tmp_path: Path
) -> None:
    file, theirs = tmp_path / "cosign.pub", tmp_path / "their.pub"
    theirs.write_text(SigningKey.generate().public.pem)

    made = await run(url, "signing-key", "create", "release")
    shown = await run(url, "signing-key", "show", "rel", "--output", str(file))
    again = await run(url, "signing-key", "show", "rel", "--output", str(file))
    added = await run(url, "signing-key", "create", "them", "--public-key", str(theirs))
    missing = await run(url, "signing-key", "create", "no", "--public-key", str(tmp_path / "no"))
    retired = await run(url, "signing-key", "retire", "release")
    listed = await run(url, "signing-key", "list")
    removed = await run(url, "signing-key", "remove", "release", "--yes")

    assert PublicKey.parse(made.out).pem == made.out == file.read_text()
    assert shown.out == f"wrote {file}\n"
    assert again.code == missing.code == 1
    assert added.out == theirs.read_text()
    assert (retired.out, removed.out) == ("retired release\n", "removed release\n")
    assert "retired" in listed.out and "checks" in listed.out
    [left] = (await client.get("/api/signingKey.all")).json()
    assert left["name"] == "them"


async def test_a_policy_is_changed_in_the_parts_that_are_given(
    client: httpx2.AsyncClient, url: str
) -> None:
    for name in ("release", "them"):
        await client.post("/api/signingKey.create", json={"name": name})
    await client.post("/api/application.create", json={"name": "Web", "appName": "web"})
    words = ("--mode", "warn", "--signing-key", "release", "--predicate-type", "a/b")

    await run(url, "policy", "set", *words)
    more = ("--base-registry", "ghcr.io", "--publisher", "docker.io/library=them")
    changed = await run(url, "policy", "set", *more)
    own = await run(url, "policy", "set", "--app", "web", "--mode", "enforce", "--publisher", "")
    bad = await run(url, "policy", "set", "--publisher", "docker.io")
    shown = await run(url, "policy", "show", "--app", "web")
    back = await run(url, "policy", "set", "--app", "web", "--inherit")

    of_all = ["key: release", "attestation: a/b", "base registry: ghcr.io"]
    whole = [
        "mode: warn (of the organization)",
        *of_all,
        "publisher: docker.io/library by them",
    ]
    assert changed.out.splitlines() == back.out.splitlines() == whole
    assert own.out.splitlines() == ["mode: enforce (of the application)", *of_all]
    assert shown.out == own.out
    assert bad.code == 1 and "PREFIX=KEY" in bad.err
