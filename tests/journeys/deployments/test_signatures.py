"""A signed index runs under an enforced policy, and again from where it is retained."""

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.signatures.keys import SigningKey
from tests.cosign import Cosign, find_cosign
from tests.journeys.conftest import PASSWORD, Port, login
from tests.journeys.deployments.test_rollouts import HEALTHY, WELL, make
from tests.worker.local.conditions import wait_until
from tests.worker.oci.sample_images import (
    INDEX,
    MANIFEST,
    Image,
    RepositoryFixture,
    digest_of,
    make_blob,
    make_image,
    make_index,
)
from worker.local.registry import LocalRegistry

SBOM = "application/spdx+json"
SPDX = "https://spdx.dev/Document"
NAME = "signed-app"
OTHER = SigningKey.generate().public


@dataclass
class Signed:
    """An application whose image is signed where it was built, and retained elsewhere."""

    port: Port
    cosign: Cosign
    built: RepositoryFixture
    retained: RepositoryFixture
    build_registry: LocalRegistry
    build_registry_id: str
    application_id: str

    def call(self, procedure: str, **body: Any) -> Any:
        return self.port.stack.call(procedure, body)

    def add_key(self, public_key: str) -> str:
        name = f"{NAME} {digest_of(public_key.encode())[7:15]}"
        made = self.call("signingKey.create", name=name, publicKey=public_key)
        return str(made["signingKeyId"])

    def hold(self, key_id: str, *kinds: str) -> None:
        chosen = {"applicationId": self.application_id, "mode": "enforce"}
        keys, types = [key_id], list(kinds)
        self.call("signaturePolicy.set", **chosen, signingKeyIds=keys, predicateTypes=types)

    def ended(self, deployment_id: str) -> dict[str, Any]:
        one = partial(self.call, "deployment.one", deploymentId=deployment_id)
        wait_until(lambda: one()["finishedAt"] is not None, seconds=90)
        shown: dict[str, Any] = one()
        return shown

    def deploy(self) -> dict[str, Any]:
        asked = self.call("application.deploy", applicationId=self.application_id)
        return self.ended(asked["deploymentId"])

    def roll_back(self) -> dict[str, Any]:
        chosen = {"applicationId": self.application_id}
        wait_until(lambda: bool(self.call("rollback.all", **chosen)), seconds=60)
        [point] = self.call("rollback.all", **chosen)
        asked = self.call("rollback.rollback", rollbackId=point["rollbackId"])
        return self.ended(asked["deploymentId"])


def authorization() -> dict[str, str]:
    pair = base64.b64encode(f"porter:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def open_repository(registry: LocalRegistry) -> RepositoryFixture:
    return RepositoryFixture(registry.host, f"team/{NAME}", authorization())


@pytest.fixture
def signed(port: Port, tmp_path: Path) -> Iterator[Signed]:
    cosign = find_cosign("cosign-3.1", tmp_path)
    with ExitStack() as stack:
        places = []
        for name in ("build", "keep"):
            registry = LocalRegistry.start(
                tmp_path / name, address=port.fleet.address, users={"porter": PASSWORD}
            )
            stack.callback(registry.stop)
            body = login(registry, PASSWORD) | {"registryName": f"signed {name}"}
            places.append((registry, port.stack.call("registry.create", body)["registryId"]))
        (build, build_id), (keep, keep_id) = places
        auth = {build.host: {"auth": authorization()["Authorization"].removeprefix("Basic ")}}
        (tmp_path / ".docker").mkdir()
        (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": auth}))
        settings = {
            "name": NAME,
            "appName": NAME,
            "registryId": build_id,
            "rollbackRegistryId": keep_id,
            "rollbackActive": True,
            "buildServerId": port.servers[0].server_id,
            "serverIds": [port.servers[0].server_id],
            "healthCheck": HEALTHY,
        }
        made = port.stack.call("application.create", settings)
        # It is registered with the stack, so it has to be stopped before its servers' Engines.
        stack.callback(
            port.stack.call,
            "application.update",
            {"applicationId": made["applicationId"], "runtime": "none"},
        )
        yield Signed(
            port,
            cosign,
            open_repository(build),
            open_repository(keep),
            build,
            build_id,
            made["applicationId"],
        )


async def publish(signed: Signed, build_id: str) -> Image:
    """An index of an image that runs here and of one for another platform; with an SBOM."""
    repository = signed.built
    make(signed.port, 0, f"team/{NAME}:amd64", WELL, "one")
    jobs = signed.port.jobs
    pushed = jobs.push(signed.port.servers[0].server_id, build_id, f"team/{NAME}:amd64")
    ended = await asyncio.to_thread(jobs.ended, pushed)
    _, content = await repository.get(f"manifests/{ended['result']['digest']}")
    document = json.loads(content)
    parts = [document["config"], *document["layers"]]
    blobs = {one["digest"]: (await repository.get(f"blobs/{one['digest']}"))[1] for one in parts}
    here = Image(blobs, [(str(document["mediaType"]), content)])
    image = make_index(here, make_image(make_blob(NAME, 50), architecture="arm64"))
    await repository.put("1", image)
    return image


async def attach_sbom(repository: RepositoryFixture, image: Image) -> Image:
    """An SBOM that nobody signed, as a referrer, listed by the tag that lists all of them."""
    sbom, empty = b'{"spdxVersion": "SPDX-2.3"}', b"{}"
    blobs = {digest_of(one): one for one in (sbom, empty)}
    empty_part = part("application/vnd.oci.empty.v1+json", empty)
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": SBOM,
            "config": empty_part,
            "layers": [part(SBOM, sbom)],
            "subject": part(INDEX, image.manifests[-1][1]),
        }
    ).encode()
    attached = Image(blobs, [(MANIFEST, content)])
    await repository.put_blobs(attached)
    await repository.put_manifest(attached.digest, MANIFEST, content)
    tag = image.digest.replace(":", "-")
    listed = await referrers(repository, image.digest)
    entry = part(MANIFEST, content) | {"artifactType": SBOM}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*listed, entry]}
    await repository.put_manifest(tag, INDEX, json.dumps(index).encode())
    return attached


def part(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(content), "size": len(content)}


async def referrers(repository: RepositoryFixture, digest: str) -> list[dict[str, Any]]:
    status, content = await repository.get(f"manifests/{digest.replace(':', '-')}")
    return list(json.loads(content)["manifests"]) if status == 200 else []


async def read_attached(repository: RepositoryFixture, digest: str) -> dict[str, bytes]:
    """Each manifest that refers to the image and each of its blobs, by digest, as stored."""
    found: dict[str, bytes] = {}
    for entry in await referrers(repository, digest):
        _, content = await repository.get(f"manifests/{entry['digest']}")
        found[entry["digest"]] = content
        document = json.loads(content)
        for each in [document["config"], *document["layers"]]:
            _, found[each["digest"]] = await repository.get(f"blobs/{each['digest']}")
    return found


async def test_a_signed_index_is_retained_whole_and_runs_again_without_its_build_registry(
    signed: Signed,
) -> None:
    build_id = signed.build_registry_id
    image = await publish(signed, build_id)
    reference = f"{signed.built.host}/team/{NAME}@{image.digest}"
    public = signed.cosign.make_keys()
    predicate = signed.cosign.directory / "sbom.json"
    predicate.write_text('{"spdxVersion": "SPDX-2.3"}')
    source = {"applicationId": signed.application_id, "registryId": build_id}
    signed.call("application.saveDockerProvider", **source, dockerImage=reference)
    trusted, other = signed.add_key(public.read_text()), signed.add_key(OTHER.pem)

    signed.hold(trusted, SPDX)
    unsigned = signed.deploy()
    signed.cosign.sign(reference)
    unattested = signed.deploy()
    signed.cosign.attest(reference, "spdxjson", predicate)
    sbom = await attach_sbom(signed.built, image)
    passed = signed.deploy()
    assert passed["state"] == "succeeded", passed["error"]
    attached = await read_attached(signed.built, image.digest)
    signed.build_registry.stop()
    again = signed.roll_back()
    signed.hold(other)
    untrusted = signed.roll_back()

    assert refusal(unsigned) == "signature_missing", unsigned
    assert refusal(unattested) == "attestation_missing", unattested
    assert again["state"] == "succeeded", again
    assert again["reference"] == f"{signed.retained.host}/team/{NAME}@{image.digest}"
    await signed.retained.require(image.digest, image)
    assert await read_attached(signed.retained, image.digest) == attached
    assert sbom.digest in attached and len(attached) >= 3 * 2
    assert refusal(untrusted) == "signature_untrusted", untrusted
    message = untrusted["error"]["message"]
    assert image.digest in message and OTHER.fingerprint in message


def refusal(deployment: dict[str, Any]) -> str | None:
    return deployment["error"]["code"] if deployment["state"] == "failed" else None
