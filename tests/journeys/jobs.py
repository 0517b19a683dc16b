"""Ask for jobs and wait for what they become, with a deadline."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.waiting import pause_after
from worker.local.stack import Stack

FINAL = {"succeeded", "failed", "cancelled", "expired"}
Job = dict[str, Any]


@dataclass(frozen=True)
class Jobs:
    stack: Stack

    def push(self, server_id: str, registry_id: str, image: str) -> str:
        body = {"serverId": server_id, "registryId": registry_id, "image": image}
        return str(self.stack.call("image.push", body)["jobId"])

    def pull(self, server_id: str, registry_id: str, image: str) -> str:
        body = {"serverId": server_id, "registryId": registry_id, "image": image}
        return str(self.stack.call("image.pull", body)["jobId"])

    def one(self, job_id: str) -> Job:
        job: Job = self.stack.call("job.one", {"jobId": job_id})
        return job

    def ended(self, job_id: str, seconds: float = 60) -> Job:
        return self.until(job_id, lambda _: False, seconds)

    def moving(self, job_id: str) -> Job:
        """The job once the first bytes of it have moved."""
        return self.until(job_id, lambda job: bool((job["progress"] or {}).get("currentBytes")))

    def verified(self, job_id: str, seconds: float = 60) -> Job:
        """The job once it has succeeded and control has asked the registry for the digest."""
        begun = time.monotonic()
        assert self.ended(job_id, seconds)["state"] == "succeeded"
        while (job := self.one(job_id))["verification"] is None:
            waited = time.monotonic() - begun
            assert waited < seconds, f"nobody asked for the digest within {seconds} s"
            time.sleep(pause_after(waited))
        return job

    def until(self, job_id: str, enough: Callable[[Job], bool], seconds: float = 60) -> Job:
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < seconds:
            job = self.one(job_id)
            if enough(job) or job["state"] in FINAL:
                return job
            time.sleep(pause_after(waited, longest=0.3))
        raise AssertionError(f"job {job_id} is still {job['state']} after {seconds} s")
