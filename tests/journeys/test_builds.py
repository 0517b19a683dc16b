"""An application of a real git repository, built, pushed and retained by ``wharf build``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.conftest import PASSWORD, Port, login
from tests.worker.engine.contexts import BASE, make_base
from worker.local.images import make_image
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository

DOCKERFILE = b'FROM scratch\nCOPY page /page\nLABEL of="the journey"\n'
BROKEN = b"FROM scratch\nCOPY nothing /nothing\n"


@pytest.fixture
def keep(port: Port, tmp_path: Path) -> Iterator[LocalRegistry]:
    registry = LocalRegistry.start(
        tmp_path / "keep", address=port.fleet.address, users={"porter": PASSWORD}
    )
    yield registry
    registry.stop()


def test_an_image_is_copied_to_another_registry_as_it_is(port: Port, keep: LocalRegistry) -> None:
    make_image(port.fleet.hosts[0].docker_host, "team/copied:1", layer_bytes=(50_000,))
    stored = port.stack.call(
        "registry.create",
        login(keep, PASSWORD) | {"registryName": "copies", "registryUrl": keep.host},
    )
    pushed = port.jobs.ended(
        port.jobs.push(port.servers[0].server_id, port.registry_id, "team/copied:1")
    )["result"]
    body = {
        "image": pushed["reference"],
        "sourceRegistryId": port.registry_id,
        "registryId": stored["registryId"],
        "tag": "stable",
    }

    copied = port.jobs.ended(port.stack.call("image.copy", body)["jobId"])

    assert copied["state"] == "succeeded", copied
    assert copied["result"]["digest"] == pushed["digest"]
    pulled = port.jobs.pull(
        port.servers[1].server_id, stored["registryId"], copied["result"]["reference"]
    )
    assert port.jobs.ended(pulled)["result"]["digest"] == pushed["digest"]


def serve(port: Port, directory: Path, dockerfile: bytes) -> LocalRepository:
    directory.mkdir()
    files = {"Dockerfile": dockerfile, "page": b"ahoy"}
    return LocalRepository.start(directory, address=port.fleet.address, files=files)


def create(port: Port, name: str, repository: LocalRepository, **settings: object) -> str:
    made = port.stack.call(
        "application.create",
        {"name": name, "appName": name, "buildRegistryId": port.registry_id, **settings},
    )
    source = {"applicationId": made["applicationId"], "customGitUrl": repository.url}
    port.stack.call("application.saveGitProvider", source)
    return str(made["applicationId"])


def wharf_build(port: Port, *words: str) -> subprocess.CompletedProcess[str]:
    key = {"WHARF_URL": port.stack.url, "WHARF_API_KEY": port.stack.admin_key}
    return subprocess.run(
        [sys.executable, "-m", "api.cli.main", "build", *words, "--wait"],
        env={**os.environ, **key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_pipeline_s_build_is_pushed_and_retained_and_pulled_by_its_digest_elsewhere(
    port: Port, keep: LocalRegistry, tmp_path: Path
) -> None:
    stored = port.stack.call(
        "registry.create",
        login(keep, PASSWORD) | {"registryName": "keep", "registryUrl": keep.host},
    )
    repository = serve(port, tmp_path / "git", DOCKERFILE)
    try:
        settings = {"rollbackRegistryId": stored["registryId"], "rollbackActive": True}
        application_id = create(port, "built-app", repository, **settings)
        ran = wharf_build(port, "built-app", "--tag", "1.0")
    finally:
        repository.stop()

    assert ran.returncode == 0, ran.stderr
    image, _, digest = ran.stdout.strip().partition("@")
    assert image == f"{port.registry.host}/team/built-app:1.0"
    [build] = port.stack.call("build.all", {"applicationId": application_id})
    assert (build["digest"], build["revision"]) == (digest, repository.commit)
    assert "COPY page" in ran.stderr and "retain: succeeded" in ran.stderr
    pulled = port.jobs.pull(
        port.servers[1].server_id, stored["registryId"], f"{build['retained']}@{digest}"
    )
    assert port.jobs.ended(pulled)["result"]["digest"] == digest


def test_a_build_s_step_reads_a_secret_that_nobody_is_shown(port: Port, tmp_path: Path) -> None:
    host, server = port.fleet.hosts[0], port.servers[0]
    make_base(host.docker_host)
    step = "RUN --mount=type=secret,id=NPM_TOKEN cat /run/secrets/NPM_TOKEN; echo was read"
    repository = serve(port, tmp_path / "git", f"FROM {BASE}\n{step}\n".encode())
    try:
        application_id = create(port, "secret-app", repository, buildServerId=server.server_id)
        port.stack.call(
            "application.saveEnvironment",
            {"applicationId": application_id, "buildSecrets": "NPM_TOKEN=npm_canary"},
        )
        ran = wharf_build(port, "secret-app")
    finally:
        repository.stop()

    assert ran.returncode == 0, ran.stderr
    assert "***was read" in ran.stderr
    [build] = port.stack.call("build.all", {"applicationId": application_id})
    stored = [port.stack.call("job.one", {"jobId": job_id}) for job_id in build["jobIds"]]
    assert "npm_canary" not in f"{ran.stderr} {ran.stdout} {build} {stored}"


def test_a_build_that_fails_says_which_step_and_leaves_no_tag(port: Port, tmp_path: Path) -> None:
    repository = serve(port, tmp_path / "git", BROKEN)
    try:
        create(port, "broken-app", repository)
        ran = wharf_build(port, "broken-app")
    finally:
        repository.stop()

    assert ran.returncode == 1
    assert ran.stdout.startswith("build 1 failed: ")
    pull = port.jobs.pull(
        port.servers[0].server_id, port.registry_id, f"{port.registry.host}/team/broken-app:v1"
    )
    assert port.jobs.ended(pull)["error"]["code"] == "image_not_found"
