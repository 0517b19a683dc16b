"""Run the demo step by step, and show what each step verified."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from shared.errors import in_sentences
from worker.local.demo.deployment import DemoDeployment
from worker.local.fleet import Fleet, Host
from worker.local.images import make_image
from worker.local.processes import free_port
from worker.local.registry import LocalRegistry
from worker.local.repository import LocalRepository
from worker.local.stack import LocalServer, Stack

USER = "porter"
LAYERS = (24_000_000, 16_000_000, 8_000_000)
LARGE = (80_000_000, 80_000_000)
SLOW = "200mbit"
"""The rate at which an Engine does not push the large image before it is cancelled."""

PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.1
FINAL = {"succeeded", "failed", "cancelled", "expired"}


CHECK_FAILED = "A check of the demo failed"


class DemoError(Exception):
    """A check of the demo failed; the message says which."""

    def __init__(self, found: str) -> None:
        super().__init__(f"{CHECK_FAILED}: {found}")


@dataclass
class Demo:
    """The parts, and what was verified with them so far."""

    console: Console
    stack: Stack
    fleet: Fleet
    servers: list[LocalServer]
    registry: LocalRegistry
    keep: LocalRegistry
    repository: LocalRepository
    password: str
    verified: list[tuple[str, str, float]] = field(default_factory=list)
    registry_id: str = ""
    keep_id: str = ""
    pushed: dict[str, Any] = field(default_factory=dict)
    built: dict[str, Any] = field(default_factory=dict)
    deployment: DemoDeployment = field(init=False)

    def run(self) -> None:
        """All steps, in their order."""
        self._step("A registry is stored, its password sealed", self._create)
        for server in self.servers:
            self._step(f"{server.name} logs in, may pull and push", partial(self._test, server))
            self._step(f"{server.name} sees a wrong password", partial(self._wrong, server))
        self._step("An image is pushed, its digest confirmed", self._push)
        self._step(f"{self.servers[-1].name} pulls it by that digest", self._pull)
        self._step("An application is built from its git repository, and pushed", self._build)
        self._step("It is kept in a second registry, byte for byte", self._retain)
        self._step(f"{self.servers[-1].name} pulls what was kept, by its digest", self._pull_kept)
        self._step("A transfer is cancelled in the middle", self._cancel)
        self._deployments()

    def _deployments(self) -> None:
        everywhere = " and ".join(server.name for server in self.servers)
        try:
            self._step(f"It runs on {everywhere}, healthy", self._deploy)
            broken = "A broken version is refused, the first goes on answering"
            self._step(broken, self._deploy_broken)
            self._step("A good version takes its place", self._deploy_good)
            back = "Rolled back to the first, with the build registry stopped"
            self._step(back, self._roll_back)
        finally:
            self.deployment.clear()

    def _step(self, what: str, act: Callable[[], str]) -> None:
        begun = time.monotonic()
        evidence = act()
        took = time.monotonic() - begun
        self.verified.append((what, evidence, took))
        self.console.print(f"[green]✓[/green] {what}: {evidence}")

    def _create(self) -> str:
        row = self._store("Demo", self.registry)
        self.registry_id = row["registryId"]
        if self.password in str(row):
            raise DemoError("the answer of registry.create contains the password")
        return f"{row['registryUrl']} as {row['username']}"

    def _store(self, name: str, registry: LocalRegistry) -> dict[str, Any]:
        body = self._login(self.password) | {
            "registryName": name,
            "registryType": "selfHosted",
            "plainHttp": True,
        }
        row: dict[str, Any] = self.stack.call(
            "registry.create", body | {"registryUrl": registry.host}
        )
        return row

    def _test(self, server: LocalServer) -> str:
        body = {"registryId": self.registry_id, "serverId": server.server_id}
        report = self.stack.call("registry.diagnose", body)
        bad = [stage for stage in report["stages"] if stage["outcome"] == "failed"]
        if bad:
            raise DemoError(f"the test of the registry failed: {_explain(bad[0])}")
        return ", ".join(stage["stage"] for stage in report["stages"] if stage["outcome"] == "ok")

    def _wrong(self, server: LocalServer) -> str:
        body = self._login("not the password") | {"serverId": server.server_id}
        report = self.stack.call("registry.diagnose", body)
        bad = next(stage for stage in report["stages"] if stage["outcome"] == "failed")
        if bad["code"] != "auth_bad_credentials":
            raise DemoError(
                f"a wrong password was reported as {bad['code']} instead of auth_bad_credentials"
            )
        return f"{bad['stage']}: {bad['code']}"

    def _push(self) -> str:
        make_image(self._host(0).docker_host, "demo/app:1", layer_bytes=LAYERS, seed=1)
        body = {
            "serverId": self.servers[0].server_id,
            "registryId": self.registry_id,
            "image": "demo/app:1",
        }
        job = self._watch("push", self.stack.call("image.push", body)["jobId"])
        self.pushed = self._require(job, "succeeded")["result"]
        return str(self.pushed["digest"])

    def _pull(self) -> str:
        body = {
            "serverId": self.servers[-1].server_id,
            "registryId": self.registry_id,
            "image": self.pushed["reference"],
        }
        job = self._watch("pull", self.stack.call("image.pull", body)["jobId"])
        result = self._require(job, "succeeded")["result"]
        if result["digest"] != self.pushed["digest"]:
            raise DemoError(f"{result['digest']} was pulled instead of {self.pushed['digest']}")
        return str(result["reference"]).partition("@")[0]

    def _build(self) -> str:
        self.keep_id = self._store("Kept", self.keep)["registryId"]
        application = self.stack.call(
            "application.create",
            {
                "name": "Demo",
                "appName": "demo-app",
                "buildRegistryId": self.registry_id,
                "rollbackRegistryId": self.keep_id,
                "rollbackActive": True,
                "buildServerId": self.servers[0].server_id,
            },
        )
        application_id = application["applicationId"]
        self.deployment = DemoDeployment(
            self.stack, self.fleet, self.servers, application_id, free_port(), self._until
        )
        chosen = {"applicationId": application_id}
        source = {"customGitUrl": self.repository.url, "customGitBranch": "main"}
        self.stack.call("application.saveGitProvider", chosen | source)
        self.built = self.stack.call("application.build", chosen)
        made, pushed = (
            self._require(self._watch(what, job_id), "succeeded")["result"]
            for what, job_id in zip(("build", "push"), self.built["jobIds"], strict=False)
        )
        if made["revision"] != self.repository.commit:
            raise DemoError(
                f"the commit {made['revision']} was built instead of {self.repository.commit}"
            )
        return f"commit {made['revision'][:12]} is {pushed['digest']}"

    def _retain(self) -> str:
        self._require(self._watch("retain", self.built["jobIds"][2]), "succeeded")
        build_id = {"buildId": self.built["buildId"]}
        self.built = self._until(
            lambda: self.stack.call("build.one", build_id), lambda build: bool(build["finishedAt"])
        )
        if self.built["state"] != "succeeded":
            raise DemoError(
                f"the build ended as {self.built['state']}: {_explain(self.built['error'])}"
            )
        return str(self.built["retained"])

    def _pull_kept(self) -> str:
        image = f"{self.built['retained']}@{self.built['digest']}"
        body = {"serverId": self.servers[-1].server_id, "registryId": self.keep_id, "image": image}
        job = self._watch("pull", self.stack.call("image.pull", body)["jobId"])
        return str(self._require(job, "succeeded")["result"]["digest"])

    def _deploy(self) -> str:
        self.deployment.prepare()
        return self._require_running("version 1", self.deployment.deploy(self.built["buildId"]))

    def _deploy_broken(self) -> str:
        with self.deployment.polling() as heard:
            deployment = self.deployment.build_and_deploy(2, healthy="no")
        error = deployment["error"] or {}
        if error.get("code") != "container_unhealthy":
            raise DemoError(
                f"the deployment of the broken version ended as {deployment['state']} for another "
                f"reason than its health: {_explain(error)}"
            )
        others = {answer for each in heard for answer in each.answers} - {"version 1"}
        if others or not heard:
            raise DemoError(
                f"while the broken version was tried, not only version 1 answered: {sorted(others)}"
            )
        return f"{error['code']}, {len(heard)} requests a server, all answered"

    def _deploy_good(self) -> str:
        deployment = self.deployment.build_and_deploy(3, healthy="yes")
        gaps = [server["gapSeconds"] for server in deployment["servers"]]
        said = self._require_running("version 3", deployment)
        return f"{said}, {max(gaps):.1f} s without an answer"

    def _roll_back(self) -> str:
        self.registry.stop()
        deployment = self.deployment.roll_back(self.built["digest"])
        return self._require_running("version 1", deployment)

    def _require_running(self, version: str, deployment: dict[str, Any]) -> str:
        if deployment["state"] != "succeeded":
            raise DemoError(
                f"the deployment ended as {deployment['state']}: {_explain(deployment['error'])}"
            )
        answers = self.deployment.answers()
        if set(answers) != {version}:
            raise DemoError(f"the servers answer {', '.join(answers)} instead of {version}")
        return f"{version} answers at port {self.deployment.port}"

    def _cancel(self) -> str:
        host = self._host(0)
        make_image(host.docker_host, "demo/large:1", layer_bytes=LARGE, seed=2)
        body = {
            "serverId": self.servers[0].server_id,
            "registryId": self.registry_id,
            "image": "demo/large:1",
        }
        with host.namespace.slow_link(SLOW) if host.namespace else nullcontext():
            job_id = self.stack.call("image.push", body)["jobId"]
            self._wait(job_id, lambda job: bool((job["progress"] or {}).get("currentBytes")))
            self.stack.call("job.cancel", {"jobId": job_id})
            begun = time.monotonic()
            self._require(self._wait(job_id, _never), "cancelled")
        return f"ended {time.monotonic() - begun:.1f} s after the request"

    def _watch(self, what: str, job_id: str) -> dict[str, Any]:
        """Show a job's progress until it has ended."""
        with _bar(self.console) as progress:
            bar = progress.add_task(what, total=None, moved="")

            def show(job: dict[str, Any]) -> bool:
                now = job["progress"] or {}
                if total := now.get("totalBytes"):
                    moved = f"{decimal(now['currentBytes'])} of {decimal(total)}"
                    progress.update(bar, completed=now["currentBytes"], total=total, moved=moved)
                return False

            job = self._wait(job_id, show)
            whole = progress.tasks[0].total or 1
            progress.update(bar, completed=whole, total=whole)
            return job

    def _wait(self, job_id: str, enough: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The job once it has ended, or once it is ``enough``."""
        return self._until(
            lambda: self.stack.call("job.one", {"jobId": job_id}),
            lambda job: enough(job) or job["state"] in FINAL,
        )

    def _until(
        self, look: Callable[[], dict[str, Any]], enough: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if enough(found := look()):
                return found
            time.sleep(LOOK_SECONDS)
        raise DemoError(
            f"the step was not finished within {PATIENCE_SECONDS:.0f} s: it is {found['state']}"
        )

    def _require(self, job: dict[str, Any], state: str) -> dict[str, Any]:
        if job["state"] != state:
            raise DemoError(
                f"the job {job['kind']} ended as {job['state']}: {_explain(job['error'])}"
            )
        return job

    def _login(self, password: str) -> dict[str, str]:
        return {
            "registryUrl": self.registry.host,
            "username": USER,
            "password": password,
            "imagePrefix": "demo",
        }

    def _host(self, number: int) -> Host:
        return self.fleet.hosts[number]


def _explain(error: Mapping[str, Any] | None) -> str:
    """Return a stored error, or a failed stage, in sentences."""
    if not error:
        return "no error is stored"
    cause = error.get("message") or error.get("evidence") or ""
    return in_sentences(f"{error.get('code')}: {cause}", error.get("remedy") or "")


def _never(_job: dict[str, Any]) -> bool:
    return False


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[moved]}"))
    return Progress(*columns, TimeElapsedColumn(), console=console)
