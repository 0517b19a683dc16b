"""The snippets for CI are what their systems accept, and their commands deploy by a real API."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest
import yaml

import wharfinger
from shared.coroutines import end
from tests.api.asking import ADMIN_KEY
from tests.api.deploying import CONTAINER, DIGEST, create_deployable, reconcile
from tests.api.fleet import TestServer
from tests.docs.blocks import documents, read_blocks
from wharfinger import ApiError

PAGE = "api/docs/how-to/pipelines.md"
FILES = {block.name: block.text for block in read_blocks(PAGE, documents()[PAGE]) if block.name}
COMMIT = "0f3c6d1e5b7a9c2d4e6f8091a2b3c4d5e6f70819"
EXPRESSION = re.compile(r"\$\{\{ (?:vars|secrets)\.(\w+) \}\}")
PIP = '#!/bin/sh\necho "pip $*" >> "$PIP_LOG"\n'


@dataclass(frozen=True)
class System:
    """A CI system: the scripts of its snippet, each run by its own shell, and its variables."""

    file: str
    schema: str
    variables: dict[str, str]
    key: str

    @property
    def document(self) -> Any:
        return yaml.safe_load(FILES[self.file])

    def scripts(self) -> Iterator[str]:
        job = self.document.get("deploy") or self.document["jobs"]["deploy"]
        if "script" in job:
            yield "\n".join(job["script"])
        yield from (step["run"] for step in job.get("steps", ()) if "run" in step)

    def environment(self, settings: dict[str, str]) -> dict[str, str]:
        """Return what the scripts see: of the project's settings only those that are passed on."""
        if "jobs" not in self.document:
            return {**self.variables, **settings}
        given = self.document["jobs"]["deploy"]["env"]
        passed = {
            name: EXPRESSION.sub(lambda e: settings[e[1]], text) for name, text in given.items()
        }
        return {**self.variables, **passed}


SYSTEMS = {
    "github": System(
        ".github/workflows/deploy.yml",
        "vendor.github-workflows",
        {"GITHUB_SHA": COMMIT, "GITHUB_RUN_ID": "17", "GITHUB_RUN_ATTEMPT": "2"},
        "github-17-2",
    ),
    "gitlab": System(
        ".gitlab-ci.yml",
        "vendor.gitlab-ci",
        {"CI_COMMIT_SHA": COMMIT, "CI_JOB_ID": "4711"},
        "gitlab-4711",
    ),
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


def test_a_snippet_has_the_schema_of_its_system(system: System, tmp_path: Path) -> None:
    file = tmp_path / Path(system.file).name
    file.write_text(FILES[system.file])

    checked = subprocess.run(
        [
            str(Path(sys.executable).with_name("check-jsonschema")),
            *("--builtin-schema", system.schema, str(file)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_the_commands_of_a_snippet_deploy_the_commit(
    system: System, url: str, client: httpx2.AsyncClient, server: TestServer, tmp_path: Path
) -> None:
    application = await create_deployable(client, [server], appName="git-app")
    machine = Machine(tmp_path, system, url)

    out, err = await machine.run(server)

    chosen = {"applicationId": application["applicationId"]}
    [deployed] = (await client.get("/api/deployment.all", params=chosen)).json()
    assert deployed["state"] == "succeeded"
    assert out.splitlines() == [deployed["reference"]]
    assert "Step 1/1" in err
    assert machine.built["source"]["commit"] == COMMIT
    assert machine.installed == ["pip install https://git.example/wharfinger.whl"]
    again, _ = await Machine(tmp_path, system, url).run(server)
    assert again == out
    assert len((await client.get("/api/deployment.all", params=chosen)).json()) == 1


async def test_the_commands_of_a_snippet_fail_with_the_cause(
    system: System, url: str, client: httpx2.AsyncClient, server: TestServer, tmp_path: Path
) -> None:
    await create_deployable(client, [server], appName="git-app")

    with pytest.raises(subprocess.CalledProcessError) as caught:
        await Machine(tmp_path, system, url, fails=True).run(server)

    assert caught.value.stderr.splitlines()[-1] == (
        "build_failed: the Dockerfile is wrong. Correct it."
    )
    assert ADMIN_KEY not in caught.value.stderr


def test_the_page_lists_the_codes_of_the_client() -> None:
    source = Path(wharfinger.__file__).parent
    raised = {
        code
        for path in source.glob("*.py")
        for code in re.findall(r'code="(\w+)"', path.read_text(encoding="utf-8"))
    }

    assert set(re.findall(r"(?m)^\| `(\w+)` \|", documents()[PAGE])) == raised
    assert not [code for code in raised if f"``{code}``" not in (ApiError.__doc__ or "")]


class Machine:
    """A runner of a CI system, and the worker of the server that it deploys to."""

    def __init__(self, directory: Path, system: System, url: str, *, fails: bool = False) -> None:
        self.system, self.fails = system, fails
        self.directory = directory
        self.built: dict[str, Any] = {}
        self.log = directory / "pip.log"
        self.log.unlink(missing_ok=True)
        (directory / "deploy.py").write_text(FILES["deploy.py"])
        pip = directory / "pip"
        pip.write_text(PIP)
        pip.chmod(0o755)
        self.settings = {
            "WHARF_URL": url,
            "WHARF_API_KEY": ADMIN_KEY,
            "WHARFINGER_WHEEL": "https://git.example/wharfinger.whl",
        }

    @property
    def installed(self) -> list[str]:
        return self.log.read_text().splitlines()

    async def run(self, server: TestServer) -> tuple[str, str]:
        """Run all scripts, up to one that fails; return what they wrote."""
        running = asyncio.create_task(self._run_all())
        working = asyncio.create_task(self._work(server))
        try:
            await asyncio.wait({running, working}, return_when=asyncio.FIRST_COMPLETED)
            return running.result() if running.done() else working.result()
        finally:
            await end(running, working)

    async def _run_all(self) -> tuple[str, str]:
        written = [await self._run(script) for script in self.system.scripts()]
        return "".join(out for out, _ in written), "".join(err for _, err in written)

    async def _run(self, script: str) -> tuple[str, str]:
        programs = f"{self.directory}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        process = await asyncio.create_subprocess_exec(
            *("/bin/bash", "-e", "-c", script),
            cwd=self.directory,
            env={
                "PATH": programs,
                "PIP_LOG": str(self.log),
                **self.system.environment(self.settings),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        code = process.returncode or 0
        if code:
            raise subprocess.CalledProcessError(code, script, out.decode(), err.decode())
        return out.decode(), err.decode()

    async def _work(self, server: TestServer) -> NoReturn:
        """Do each job, or fail the first one; reconcile after each, as control does."""
        while True:
            job = await server.next_job()
            if self.fails:
                error = {"code": "build_failed", "message": "the Dockerfile is wrong"}
                more = {"remedy": "Correct it.", "retryable": False}
                await server.finish(job, "failed", error={**error, **more})
            else:
                if job.kind == "image.build":
                    self.built = job.command
                await server.event(job, "log", {"text": "Step 1/1 : FROM scratch"})
                ran = {"imageId": DIGEST, "containerId": CONTAINER, "gapSeconds": 0.0}
                result = {"reference": job.command.get("reference", "x"), "digest": DIGEST, **ran}
                await server.finish(job, "succeeded", result=result)
            await reconcile(server)
