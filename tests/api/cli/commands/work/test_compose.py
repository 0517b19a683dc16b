"""``wharf compose pull``: the pinned file comes to standard output."""

from pathlib import Path

from tests.api.cli.running import run
from tests.api.cli.working import working
from tests.api.fleet import TestServer

PINNED = "services:\n  web:\n    image: ghcr.io/a/web@sha256:1\n"
RESULT = {
    "compose_file": PINNED,
    "images": [],
    "without_image": [],
    "skipped": [{"service": "db", "reason": "its profile is not active"}],
    "warnings": ["include is not read"],
}


async def test_the_pinned_file_is_written(url: str, server: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: 'ghcr.io/a/web:1'}}\n")

    async with working(server, result=RESULT):
        pulled = await run(url, "compose", "pull", str(file), "--wait")
    from_input = await run(url, "compose", "pull", "-", text=file.read_text())

    assert (pulled.code, pulled.out) == (0, PINNED)
    assert "warning: include is not read\n" in pulled.err
    assert "skipped: db: its profile is not active\n" in pulled.err
    assert (from_input.code, len(from_input.out)) == (0, 37)


async def test_a_missing_file_is_named(url: str) -> None:
    missing = await run(url, "compose", "pull", "/nothing.yaml")

    assert (missing.code, missing.out) == (1, "")
    assert "/nothing.yaml cannot be read: No such file" in missing.err
