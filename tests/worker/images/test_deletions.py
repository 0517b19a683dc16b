"""Deletions at registries of all kinds, in the seven cases that keep or delete an image."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from shared.errors import RegistryError
from shared.jobs.commands import ImageDelete, ImageVerify
from shared.jobs.deletion import MAX_TAGS, Claim, Known, Outcome
from shared.jobs.results import DeleteResult
from tests.fakes.front import Intercept, open_front
from tests.fakes.registry import Repository, open_repository
from tests.worker.oci.parts import RegistryFactory, basic, make_login
from tests.worker.oci.sample_images import (
    MANIFEST,
    Image,
    RepositoryFixture,
    digest_of,
    make_image,
    make_index,
)
from tests.worker.parts import open_tools
from worker.images.verification import delete, verify
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants

IMAGE, OTHER = make_image(b"deletions"), make_image(b"another one")
V1 = Claim(kind="build", name="build 1 of shop", build_id="1", tag="v1")
V2 = Claim(kind="build", name="build 2 of shop", build_id="2", tag="v2")
RUNS = Claim(kind="deployment", name="a deployment of site", passes=True)
GIVEN_UP = Known(claims=(V1,), given_up=frozenset({"1"}))
"""The rollback point of build 1 was dropped, and the database no longer needs the image."""


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    registries = RegistryFactory(tmp_path_factory.mktemp("registries"))
    yield registries.start()
    registries.stop()


@dataclass
class RepositoryScenario:
    """A repository of the real registry, where build 1 has pushed ``v1``."""

    host: str
    depot: RepositoryFixture
    tools: Tools

    async def delete(self, known: Known = GIVEN_UP, *, host: str = "") -> DeleteResult:
        return await ask(host or self.host, self.depot.repository, known, self.tools)

    async def statuses(self, *names: str) -> list[int]:
        return [(await self.depot.get(f"manifests/{name}"))[0] for name in names]

    async def require_deployable(self) -> None:
        """Require that the image can be pulled by its digest, so it is complete."""
        named = f"{self.host}/{self.depot.repository}@{IMAGE.digest}"
        given = grants(self.host, self.depot.repository)
        await verify(ImageVerify(reference=named, registry_id="registry"), given, self.tools)


@pytest.fixture
async def scenario(
    registry: LocalRegistry, tools: Tools, request: pytest.FixtureRequest
) -> RepositoryScenario:
    name = f"team/shop{digest_of(request.node.name.encode())[7:19]}"
    depot = RepositoryFixture(registry.host, name, basic())
    await depot.put("v1", IMAGE)
    return RepositoryScenario(registry.host, depot, tools)


def grants(host: str, repository: str) -> Grants:
    rights = frozenset({"pull", "delete"})
    return Grants(grants=(Grant(login=make_login(host), repository=repository, rights=rights),))


async def ask(host: str, repository: str, known: Known, tools: Tools) -> DeleteResult:
    command = ImageDelete(
        reference=f"{host}/{repository}@{IMAGE.digest}", registry_id="registry", known=known
    )
    return await delete(command, grants(host, repository), Attempt("job", 1), tools)


async def test_a_build_with_the_same_digest_keeps_its_tag_and_can_be_deployed(
    scenario: RepositoryScenario,
) -> None:
    await scenario.depot.put("v2", IMAGE)

    result = await scenario.delete(Known(claims=(V1, V2), given_up=frozenset({"1"})))

    assert result.outcome is Outcome.KEPT
    assert result.reasons[0] == "build 2 of shop needs it"
    assert await scenario.statuses("v1", "v2") == [200, 200]
    await scenario.require_deployable()


async def test_a_tag_that_a_person_set_keeps_the_image(scenario: RepositoryScenario) -> None:
    await scenario.depot.put("stable", IMAGE)

    result = await scenario.delete()

    assert (result.outcome, result.was_there) == (Outcome.KEPT, False)
    assert result.reasons == ("the tag stable names it",)
    assert await scenario.statuses("v1", "stable") == [200, 200]


async def test_an_image_that_another_deployment_runs_is_kept(scenario: RepositoryScenario) -> None:
    result = await scenario.delete(Known(claims=(V1, RUNS), given_up=frozenset({"1"})))

    assert result.reasons == ("a deployment of site needs it",)
    await scenario.require_deployable()


async def test_the_tag_of_a_build_in_use_is_not_deleted(scenario: RepositoryScenario) -> None:
    result = await scenario.delete(Known())

    assert result.reasons == ("the tag v1 names it",)
    await scenario.require_deployable()


async def test_an_index_that_lists_the_image_stays_complete(scenario: RepositoryScenario) -> None:
    index = make_index(IMAGE, OTHER)
    await scenario.depot.put("multi", index)

    result = await scenario.delete()

    assert result.reasons == (f"the index {index.digest} lists it",)
    await scenario.depot.require("multi", index)


async def test_an_untagged_index_that_the_database_knows_is_found(
    scenario: RepositoryScenario,
) -> None:
    index = make_index(IMAGE, OTHER)
    await scenario.depot.put("moved", index)
    await scenario.depot.put("moved", OTHER)
    unknown = digest_of(b"of another registry")

    result = await scenario.delete(GIVEN_UP.model_copy(update={"others": (index.digest, unknown)}))

    assert result.reasons == (f"the index {index.digest} lists it",)
    await scenario.require_deployable()


def refer_to(image: Image) -> Image:
    """Make an artifact whose subject is this image."""
    artifact = make_image(b"what is in it")
    document = json.loads(artifact.manifests[0][1])
    kind, content = image.manifests[-1]
    document["subject"] = {"mediaType": kind, "digest": image.digest, "size": len(content)}
    return Image(artifact.blobs, [(MANIFEST, json.dumps(document).encode())])


async def test_a_referrer_keeps_its_subject(scenario: RepositoryScenario) -> None:
    referrer = refer_to(IMAGE)
    await scenario.depot.put("bill-of-materials", referrer)

    result = await scenario.delete()

    assert result.reasons == (f"{referrer.digest} refers to it",)
    assert await scenario.statuses(IMAGE.digest, "bill-of-materials") == [200, 200]


async def test_an_image_under_the_tag_of_the_referrers_keeps_the_image(
    scenario: RepositoryScenario,
) -> None:
    tag = IMAGE.digest.replace(":", "-")
    await scenario.depot.put(tag, OTHER)

    result = await scenario.delete()

    assert result.reasons == (f"the tag {tag} refers to it",)
    await scenario.require_deployable()


async def test_signatures_and_referrers_go_with_their_image(scenario: RepositoryScenario) -> None:
    prefix = IMAGE.digest.replace(":", "-")
    referrer = refer_to(IMAGE)
    await scenario.depot.put(f"{prefix}.sig", OTHER)
    await scenario.depot.put(referrer.digest, referrer)
    await scenario.depot.put(prefix, make_index(referrer))

    result = await scenario.delete()

    assert result.outcome is Outcome.DELETED
    assert set(result.attached) == {OTHER.digest, referrer.digest, make_index(referrer).digest}
    names = (IMAGE.digest, f"{prefix}.sig", prefix, referrer.digest)
    assert await scenario.statuses(*names) == [404] * len(names)


async def test_the_image_is_deleted_if_nothing_else_needs_it(scenario: RepositoryScenario) -> None:
    await scenario.depot.put("v2", OTHER)
    await scenario.depot.put("multi", make_index(OTHER))

    result = await scenario.delete()
    again = await scenario.delete()

    assert (result.outcome, result.was_there, result.reasons) == (Outcome.DELETED, True, ())
    assert (again.outcome, again.was_there) == (Outcome.GONE, False)
    assert await scenario.statuses("v1", IMAGE.digest) == [404, 404]
    assert await scenario.statuses("v2", "multi") == [200, 200]


async def test_a_tag_that_is_set_after_the_first_lookup_is_found_by_the_second(
    scenario: RepositoryScenario,
) -> None:
    lists = []

    async def set_meanwhile(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith("/tags/list"):
            lists.append(request.path)
            # The second list ends the first look: it brings nothing new.
            if len(lists) == 3:
                await scenario.depot.put("stable", IMAGE)
        return None

    async with open_front(scenario.host, set_meanwhile) as front:
        result = await scenario.delete(host=front.host)

    assert result.reasons == ("the tag stable names it",)
    assert await scenario.statuses("stable") == [200]


def answer_lists(status: int, code: str) -> Intercept:
    """Return an answer with this error that replaces the registry's list."""

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        errors = {"errors": [{"code": code}]}
        is_list = request.path.endswith("/tags/list")
        return web.json_response(errors, status=status) if is_list else None

    return refuse


@pytest.mark.parametrize(("status", "code"), [(401, "DENIED"), (403, "DENIED"), (404, "UNKNOWN")])
async def test_a_registry_without_a_list_of_tags_keeps_the_image(
    *, status: int, code: str, scenario: RepositoryScenario
) -> None:
    async with open_front(scenario.host, answer_lists(status, code)) as front:
        result = await scenario.delete(host=front.host)

    assert result.reasons[0].startswith("the repository's tags cannot be listed")
    await scenario.require_deployable()


async def test_an_unavailable_list_of_tags_fails_the_attempt(scenario: RepositoryScenario) -> None:
    async with open_front(scenario.host, answer_lists(503, "UNAVAILABLE")) as front:
        with pytest.raises(RegistryError) as caught:
            await scenario.delete(host=front.host)

    assert caught.value.retryable
    await scenario.require_deployable()


async def test_an_unreadable_tag_keeps_the_image(scenario: RepositoryScenario) -> None:
    await scenario.depot.put("odd", OTHER)

    async def hide(request: web.Request) -> web.StreamResponse | None:
        unknown = {"errors": [{"code": "MANIFEST_UNKNOWN"}]}
        is_odd = request.path.endswith("/manifests/odd")
        return web.json_response(unknown, status=404) if is_odd else None

    async with open_front(scenario.host, hide) as front:
        result = await scenario.delete(host=front.host)

    assert result.reasons == ("the tag odd cannot be read (image_not_found)",)
    await scenario.require_deployable()


def shown(repository: Repository) -> tuple[set[str], bool]:
    return set(repository.tags), IMAGE.digest in repository.manifests


@pytest.mark.parametrize("page", [1, 3, 100])
@pytest.mark.parametrize("links", [True, False])
async def test_a_tag_is_found_on_any_page(*, page: int, links: bool, tools: Tools) -> None:
    repository = Repository(page, links)
    repository.put(OTHER, *(f"a{number}" for number in range(7)))
    repository.put(IMAGE, "v1", "z-stable")

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert result.reasons == ("the tag z-stable names it",)
    assert shown(repository)[1]


async def test_a_next_page_at_another_host_is_not_the_end(tools: Tools) -> None:
    repository = Repository()
    repository.put(IMAGE, "v1")

    async with open_repository(repository) as fake:

        async def lead_away(request: web.Request) -> web.StreamResponse | None:
            if not request.path.endswith("/tags/list"):
                return None
            link = {"Link": f'<http://elsewhere.invalid{request.path}?last=v1>; rel="next"'}
            return web.json_response({"tags": ["v1"]}, headers=link)

        async with open_front(fake.host, lead_away) as front:
            result = await ask(front.host, "team/app", GIVEN_UP, tools)

    assert "cannot all be listed" in result.reasons[0]
    assert shown(repository) == ({"v1"}, True)


async def test_an_image_with_too_many_tags_is_kept(tools: Tools) -> None:
    repository = Repository(page=MAX_TAGS + 2)
    repository.put(OTHER, *(f"a{number}" for number in range(MAX_TAGS)))
    repository.put(IMAGE, "v1")

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert f"more than {MAX_TAGS}" in result.reasons[0]
    assert shown(repository)[1]
    assert not [line for line in fake.lines if line.startswith("DELETE")]


async def test_an_invalid_tag_keeps_the_image(tools: Tools) -> None:
    """Such a tag cannot be asked for, and may name the image."""
    repository = Repository()
    repository.put(IMAGE, "v1", "../../other/manifests/v1")

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert (result.outcome, result.reasons) == (
        Outcome.KEPT,
        ("the repository has an invalid tag",),
    )
    assert shown(repository)[1]
    assert not [line for line in fake.lines if line.startswith("DELETE") or "other" in line]


async def test_only_our_own_tag_is_deleted_if_the_registry_can_delete_tags(tools: Tools) -> None:
    repository = Repository()
    repository.put(IMAGE, "v1", "stable")

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert (result.outcome, result.tags) == (Outcome.UNTAGGED, ("v1",))
    assert result.reasons == ("the tag stable names it",)
    assert shown(repository) == ({"stable"}, True)
    deletes = [line for line in fake.lines if line.startswith("DELETE")]
    assert deletes == ["DELETE /v2/team/app/manifests/v1"]


@pytest.mark.parametrize(("status", "code"), [(405, "UNSUPPORTED"), (400, "DIGEST_INVALID")])
async def test_a_registry_that_refuses_to_delete_a_tag_keeps_it(
    status: int, code: str, tools: Tools
) -> None:
    repository = Repository()
    repository.put(IMAGE, "v1", "stable")

    async with open_repository(repository) as fake:

        async def refuse(request: web.Request) -> web.StreamResponse | None:
            errors = {"errors": [{"code": code}]}
            is_delete = request.method == "DELETE"
            return web.json_response(errors, status=status) if is_delete else None

        async with open_front(fake.host, refuse) as front:
            result = await ask(front.host, "team/app", GIVEN_UP, tools)

    assert (result.outcome, result.tags) == (Outcome.KEPT, ())
    assert result.reasons[-1] == "the registry does not delete a tag (delete_unsupported)"
    assert shown(repository) == ({"v1", "stable"}, True)


async def test_a_registry_that_deletes_the_image_with_a_tag_is_named(tools: Tools) -> None:
    repository = Repository()
    repository.put(IMAGE, "v1", "stable")

    async with open_repository(repository) as fake:

        async def delete_all(request: web.Request) -> web.StreamResponse | None:
            if request.method == "DELETE":
                repository.manifests.clear()
                return web.Response(status=202)
            return None

        async with open_front(fake.host, delete_all) as front:
            with pytest.raises(
                RegistryError, match="asked to delete a tag, and deleted the whole image"
            ):
                await ask(front.host, "team/app", GIVEN_UP, tools)


async def test_referrers_that_the_registry_lists_on_any_page_go_with_their_subject(
    tools: Tools,
) -> None:
    referrers = (OTHER, refer_to(IMAGE), make_index(OTHER))
    repository = Repository(page=2)
    repository.put(IMAGE, "v1")
    for one in referrers:
        repository.put(one)
        repository.subjects[one.digest] = IMAGE.digest

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert result.outcome is Outcome.DELETED
    assert set(result.attached) == {one.digest for one in referrers}
    assert repository.manifests == {}


async def test_images_are_not_read_if_the_registry_lists_referrers(tools: Tools) -> None:
    repository = Repository()
    repository.put(IMAGE, "v1")
    repository.put(OTHER, "v2")

    async with open_repository(repository) as fake:
        result = await ask(fake.host, "team/app", GIVEN_UP, tools)

    assert result.outcome is Outcome.DELETED
    assert shown(repository) == ({"v2"}, False)
    assert not [line for line in fake.lines if line.startswith("GET") and "/manifests/" in line]
