"""A registry that does not name the dependents of a manifest leaves a gap."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.deletion import Observation
from shared.reference import parse_reference
from tests.fakes.web import open_fake
from tests.worker.oci.parts import API, make_settings, open_client
from tests.worker.oci.sample_images import digest_of
from worker.oci.images.contents import INDEX_TYPES
from worker.oci.images.dependents import Dependents

TARGET = f"sha256:{'a' * 64}"
INDEX = min(INDEX_TYPES)
Respond = Callable[[], web.Response]


def says(document: object, status: int = 200, **headers: str) -> Respond:
    return lambda: web.json_response(document, status=status, headers=API | headers)


def refuses(status: int, code: str = "DENIED") -> Respond:
    return says({"errors": [{"code": code}]}, status)


@dataclass
class RegistryWithIndex:
    """A registry with the target and an index of the tag 1, and parts that answer otherwise."""

    index: bytes = b"{}"
    special: dict[str, Respond] = field(default_factory=dict)

    @property
    def other(self) -> str:
        return digest_of(self.index)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        for part, respond in self.special.items():
            if part in path and not path.endswith(f"manifests/{TARGET}"):
                return respond()
        if path.endswith("tags/list"):
            return says({"name": "team/app", "tags": ["1"]})()
        if "referrers" in path:
            return says({"manifests": []})()
        if "manifests" in path:
            digest = TARGET if path.endswith(TARGET) else self.other
            headers = API | {"Docker-Content-Digest": digest, "Content-Type": INDEX}
            return web.Response(body=self.index, headers=headers)
        return web.Response(headers=API)

    async def observe(self, *others: str) -> Observation:
        async with (
            open_fake(self.answer) as fake,
            open_client(fake.host, make_settings(), None) as client,
        ):
            target = parse_reference(f"{fake.host}/team/app@{TARGET}")
            return await Dependents(client, target, others).observe()


@pytest.mark.parametrize(
    ("part", "respond", "gap"),
    [
        ("tags", refuses(403), "the repository's tags cannot be listed"),
        ("tags", says({"tags": ["-no tag"]}), "the repository has an invalid tag"),
        ("manifests", refuses(403), "the tag 1 cannot be read"),
        ("referrers/", refuses(403), "its referrers cannot be listed"),
        (
            "referrers/",
            says({"manifests": [{"digest": TARGET}]}, Link="<https://other.example/>; rel=next"),
            "its referrers cannot all be listed, or are more than 500",
        ),
    ],
)
async def test_a_part_that_cannot_be_read_is_a_gap(part: str, respond: Respond, gap: str) -> None:
    seen = await RegistryWithIndex(special={part: respond}).observe()

    assert seen.is_there
    assert any(gap in one for one in seen.gaps), seen.gaps


async def test_an_index_that_is_no_json_object_is_a_gap() -> None:
    registry = RegistryWithIndex(b"[]")

    seen = await registry.observe()

    assert seen.gaps == (f"the manifest {registry.other} cannot be read",)


async def test_an_index_that_only_the_database_knows_may_be_gone_and_not_refused() -> None:
    gone, no_tags = f"sha256:{'c' * 64}", says({"name": "team/app", "tags": []})

    def answering(respond: Respond) -> RegistryWithIndex:
        return RegistryWithIndex(special={"tags": no_tags, "manifests": respond})

    absent = await answering(refuses(404, "MANIFEST_UNKNOWN")).observe(gone)
    refused = await answering(refuses(403)).observe(gone)

    assert absent.gaps == ()
    assert [gone in one for one in refused.gaps] == [True]


@pytest.mark.parametrize(
    ("part", "respond", "code"),
    [
        ("tags", refuses(429, "TOOMANYREQUESTS"), FaultCode.RATE_LIMITED),
        ("referrers/", says({"manifests": "none"}), FaultCode.REGISTRY_ERROR),
        (
            "referrers/",
            says({"manifests": []}, Link="</v2/next>; rel=next"),
            FaultCode.REGISTRY_ERROR,
        ),
    ],
)
async def test_a_registry_that_cannot_answer_now_is_an_error_and_no_gap(
    part: str, respond: Respond, code: FaultCode
) -> None:
    with pytest.raises(RegistryError) as caught:
        await RegistryWithIndex(special={part: respond}).observe()

    assert caught.value.code == code


async def test_a_registry_without_the_referrers_api_has_its_subjects_read() -> None:
    index = json.dumps({"subject": {"digest": TARGET}}).encode()
    registry = RegistryWithIndex(index, {"referrers": refuses(404, "UNSUPPORTED")})

    seen = await registry.observe()

    assert not seen.deletes_tags
    assert seen.subjects == {registry.other: TARGET}
