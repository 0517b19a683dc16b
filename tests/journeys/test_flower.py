"""Flower, as operators see it: tasks by the name of their kind, with how they ended."""

import ast
import time
from typing import Any

import httpx2

from tests.journeys.conftest import PASSWORD, Port


def test_flower_shows_tasks_by_name_and_state_behind_a_login(port: Port) -> None:
    url = port.stack.start_flower()
    password = (port.stack.directory.path / "keys" / "flower.password").read_text()
    missing = f"{port.registry.host}/team/nothing:1"

    def tasks() -> list[dict[str, Any]]:
        answer = httpx2.get(f"{url}/api/tasks", auth=("admin", password))
        return list(answer.raise_for_status().json().values())

    def failed() -> list[dict[str, Any]]:
        """Return the tasks that Flower saw from their start: it may have connected later."""
        return [task for task in tasks() if task["state"] == "FAILURE" and task["received"]]

    until = time.monotonic() + 20
    while not failed():
        assert time.monotonic() < until, tasks()
        port.jobs.ended(port.jobs.pull(port.servers[0].server_id, port.registry_id, missing))

    [task, *_] = failed()
    assert task["name"] == "image.pull"
    job = port.stack.call("job.one", {"jobId": ast.literal_eval(task["args"])[0]})
    assert job["flowerUrl"] == f"{url}/task/{task['uuid']}"
    page = httpx2.get(job["flowerUrl"], auth=("admin", password))
    assert page.is_success
    assert job["jobId"] in page.text
    assert "image_not_found" in task["exception"]
    assert httpx2.get(f"{url}/api/tasks").status_code == 401
    assert PASSWORD not in str(tasks())
