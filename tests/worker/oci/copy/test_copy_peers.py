"""Skopeo, another program, reads our copies."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.worker.oci.copying import copy, make_two_platform_image
from tests.worker.oci.parts import PASSWORDS, RegistryFactory, basic
from tests.worker.oci.sample_images import RepositoryFixture, digest_of
from worker.oci.transport.settings import ConnectionSettings


@pytest.fixture(scope="session")
def skopeo() -> str:
    """The path of skopeo: skip without it on a desktop, fail in CI."""
    if found := shutil.which("skopeo"):
        return found
    if os.environ.get("CI"):
        pytest.fail("there is no skopeo here")
    pytest.skip("NO OTHER PROGRAM READS OUR COPIES: there is no skopeo here")


async def test_skopeo_reads_our_copy_byte_for_byte(
    skopeo: str, registries: RegistryFactory, settings: ConnectionSettings, tmp_path: Path
) -> None:
    source, target = registries.start(), registries.start()
    image = make_two_platform_image("skopeo")
    await RepositoryFixture(source.host, "app", basic()).put("1", image)

    await copy(f"{source.host}/app:1", f"{target.host}/app:1", settings)

    layout = tmp_path / "layout"
    await run(
        *(skopeo, "copy", "--all", "--preserve-digests", "--src-tls-verify=false"),
        *("--src-creds", f"alice:{PASSWORDS['alice']}"),
        *(f"docker://{target.host}/app:1", f"oci:{layout}:1"),
    )
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["digest"] == image.digest
    stored = {digest_of(path.read_bytes()) for path in (layout / "blobs/sha256").iterdir()}
    assert stored == {*image.digests, *image.blobs}


async def run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
