"""From a directory to an image in a registry: uploaded, built on a server, pushed."""

import hashlib
import io
import tarfile
from typing import Any

import httpx2

from tests.journeys.conftest import Port
from tests.journeys.jobs import Job
from tests.worker.builds.sources.test_upload import entry, make_tar
from tests.worker.engine.contexts import BASE, make_base


def upload(port: Port, application_id: str, content: bytes) -> dict[str, Any]:
    answer = httpx2.post(
        f"{port.stack.url}/api/application.uploadContext",
        params={"applicationId": application_id},
        content=content,
        headers={
            "x-api-key": port.stack.admin_key,
            "content-type": "application/gzip",
            "x-content-sha256": hashlib.sha256(content).hexdigest(),
        },
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def make_application(port: Port, name: str) -> str:
    server_id = port.servers[0].server_id
    settings = {"buildRegistryId": port.registry_id, "buildServerId": server_id}
    requested = {"name": name, "sourceType": "drop", **settings}
    return str(port.stack.call("application.create", requested)["applicationId"])


def build(port: Port, application_id: str, **requested: str) -> list[Job]:
    """The jobs of a build, once they have ended."""
    built = port.stack.call("application.build", {"applicationId": application_id, **requested})
    return [port.jobs.ended(job_id) for job_id in built["jobIds"]]


def pack(hello: bytes) -> bytes:
    buffer = io.BytesIO()
    files = {"Dockerfile": f"FROM {BASE}\nCOPY hello /hello\nRUN cat /hello\n".encode()}
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in {**files, "hello": hello}.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def test_an_uploaded_context_is_built_pushed_and_pulled_elsewhere(port: Port) -> None:
    make_base(port.fleet.hosts[0].docker_host)
    application_id = make_application(port, "Uploaded")
    first = upload(port, application_id, pack(b"ahoy"))
    upload(port, application_id, pack(b"ahoy again"))

    newest = build(port, application_id)
    named = build(port, application_id, contextId=first["contextId"])
    image = newest[1]["result"]["reference"]
    pulled = port.jobs.ended(port.jobs.pull(port.servers[1].server_id, port.registry_id, image))

    assert [job["state"] for job in [*newest, *named, pulled]] == ["succeeded"] * 5
    assert pulled["result"]["digest"] == newest[1]["result"]["digest"]
    assert newest[0]["result"]["imageId"] != named[0]["result"]["imageId"]
    assert first["sizeBytes"] == len(pack(b"ahoy"))


def test_a_context_that_leads_out_is_refused_once_and_nothing_is_pushed(port: Port) -> None:
    application_id = make_application(port, "Evil")
    upload(port, application_id, make_tar(entry("Dockerfile"), entry("../../etc/evil")))

    made, pushed = build(port, application_id)

    assert (made["state"], made["error"]["code"]) == ("failed", "source_invalid")
    assert made["error"]["remedy"]
    assert (made["attempt"], pushed["state"]) == (1, "cancelled")


def test_a_context_that_is_gone_is_named_with_what_to_do(port: Port) -> None:
    application_id = make_application(port, "Gone")
    stored = upload(port, application_id, pack(b"gone"))
    (port.directory / "wharf" / "contexts" / stored["contextId"]).unlink()

    [made, _] = build(port, application_id)

    assert (made["state"], made["error"]["code"]) == ("failed", "source_not_found")
    assert "Upload the context again" in made["error"]["remedy"]
