"""A compose file on a server: its images pulled with the right logins, and the file pinned."""

from tests.journeys.conftest import Port
from worker.local.images import make_image

FILE = """\
# What runs at the port.
services:
  web:
    image: "{host}/team/web:1"  # in front
  worker: {{image: "{host}/team/work:${{TAG:-2}}", command: [work]}}
  again: {{image: "{host}/team/web:1"}}
  built: {{build: .}}
"""


def ask(port: Port, text: str, server: int = 1) -> str:
    body = {"composeFile": text, "serverId": port.servers[server].server_id}
    return str(port.stack.call("compose.pull", body)["jobId"])


def push(port: Port, image: str, *, seed: int) -> str:
    """An image in the registry; gives its digest there."""
    host, server = port.fleet.hosts[0], port.servers[0]
    make_image(host.docker_host, image, layer_bytes=(3_000_000,), seed=seed)
    job = port.jobs.ended(port.jobs.push(server.server_id, port.registry_id, image))
    assert job["state"] == "succeeded"
    return str(job["result"]["digest"])


def test_a_compose_file_is_pinned_to_what_its_registry_holds(port: Port) -> None:
    web, work = push(port, "team/web:1", seed=51), push(port, "team/work:2", seed=52)
    text = FILE.format(host=port.registry.host)

    # An Engine with the containerd store reports whole megabytes, and ten times a second.
    with port.slow_link(1, "40mbit"):
        job = port.jobs.ended(ask(port, text))

    assert job["state"] == "succeeded", job["error"]
    assert job["result"]["composeFile"] == text.replace("team/web:1", f"team/web:1@{web}").replace(
        "team/work:${TAG:-2}", f"team/work:2@{work}"
    )
    assert [(image["service"], image["digest"]) for image in job["result"]["images"]] == [
        ("web", web),
        ("worker", work),
        ("again", web),
    ]
    assert job["result"]["withoutImage"] == ["built"]
    lines = job["progress"]["layers"]
    assert [(line["id"], line["state"]) for line in lines] == [("web", "done"), ("worker", "done")]
    assert job["progress"]["currentBytes"] > 6_000_000

    again = port.jobs.ended(ask(port, job["result"]["composeFile"], server=0))
    assert again["result"]["composeFile"] == job["result"]["composeFile"]


def test_an_image_that_is_missing_is_named_with_its_services_and_nothing_is_pinned(
    port: Port,
) -> None:
    push(port, "team/there:1", seed=53)
    host = port.registry.host
    text = (
        f"services: {{a: {{image: {host}/team/there:1}}, b: {{image: {host}/team/none:1}},"
        f" c: {{image: {host}/team/none:1}}}}"
    )

    job = port.jobs.ended(ask(port, text))

    assert (job["state"], job["result"], job["failures"]) == ("failed", None, 1)
    assert job["error"]["code"] == "image_not_found"
    assert job["error"]["message"].startswith(f"b, c: cannot pull {host}/team/none:1")
