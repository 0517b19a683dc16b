"""The error of a missing image names the repository of an application that is spelled alike."""

from typing import Any

import pytest

from shared.ids import make_id
from shared.jobs.commands import Command, ImageCopy, ImagePull
from tests.world import EnrolledServer, World

HOST = "registry.example"
GENERAL = "Check that the image exists, and its name and tag."
ABSENT = {"code": "image_not_found", "message": "there is no such image", "retryable": False}


async def add_application(
    world: World, registry_id: str, *, column: str = "build_registry_id", **columns: Any
) -> str:
    application_id = make_id()
    given = {
        "application_id": application_id,
        "organization_id": world.organization_id,
        "name": "shop",
        "app_name": application_id,
        "description": "",
        "git_build_path": "/",
        "build_type": "dockerfile",
        "dockerfile": "Dockerfile",
        "docker_context_path": ".",
        column: registry_id,
        **columns,
    }
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    await world.owner.execute(
        f"INSERT INTO application ({names}) VALUES ({marks})".encode(), tuple(given.values())
    )
    return application_id


async def add_build(world: World, application_id: str, reference: str, **columns: Any) -> None:
    given = {
        "build_id": make_id(),
        "organization_id": world.organization_id,
        "application_id": application_id,
        "version": 1,
        "title": "",
        "reference": reference,
        "make_job_id": "job",
        "outcome": "succeeded",
        **columns,
    }
    names, marks = ", ".join(given), ", ".join(["%s"] * len(given))
    await world.owner.execute(
        f"INSERT INTO build (finished_at, {names}) VALUES (now(), {marks})".encode(),
        tuple(given.values()),
    )


async def fail(
    world: World, server: EnrolledServer, command: Command, **error: Any
) -> dict[str, Any]:
    registry_id = getattr(command, "registry_id", None)
    job_id = await world.run(server, command=command, registry_id=registry_id)
    answer = await server.call(
        "finish",
        "first",
        job_id=job_id,
        attempt=1,
        outcome="failed",
        error={**ABSENT, "remedy": GENERAL, **error},
    )
    assert answer["status"] == "recorded"
    found: dict[str, Any] = (await world.job(job_id))["error"]
    return found


def pull(repository: str, registry_id: str | None) -> ImagePull:
    return ImagePull(reference=f"{HOST}/{repository}:1", registry_id=registry_id)


@pytest.fixture
async def server(world: World) -> EnrolledServer:
    return await world.add_server()


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("team/shpo", "team/shop"),
        ("team/shopp", "team/shop"),
        ("taem/shop", "team/shop"),
        ("team/blog", None),
        ("team/shop", None),
    ],
)
@pytest.mark.parametrize("code", ["image_not_found", "repo_missing"])
async def test_a_pull_names_the_repository_that_an_application_pushes_to(
    world: World, server: EnrolledServer, typed: str, nearest: str | None, code: str
) -> None:
    registry_id = await world.add_registry(host=HOST)
    application_id = await add_application(world, registry_id)
    await add_build(world, application_id, f"{HOST}/team/shop:v1")

    error = await fail(world, server, pull(typed, registry_id), code=code)

    suggestion = f"Did you mean {HOST}/{nearest}? " if nearest else ""
    assert (error["code"], error["remedy"]) == (code, f"{suggestion}{GENERAL}")


async def test_the_image_of_an_application_and_a_retained_copy_are_known(
    world: World, server: EnrolledServer
) -> None:
    registry_id = await world.add_registry(host=HOST)
    image = {"source_type": "docker", "docker_image": f"{HOST}/team/shop:2"}
    await add_application(world, registry_id, column="registry_id", **image)
    mistyped = {**image, "docker_image": f"{HOST}/team/shpo:2"}
    await add_application(world, registry_id, column="registry_id", **mistyped)
    kept = await add_application(world, registry_id, column="rollback_registry_id")
    await add_build(world, kept, "build.example/team/blog:1", retained=f"{HOST}/team/blog:1")

    errors = [
        await fail(world, server, pull(typed, registry_id)) for typed in ("team/shpo", "team/bolg")
    ]

    assert [error["remedy"].partition("?")[0] for error in errors] == [
        f"Did you mean {HOST}/team/shop",
        f"Did you mean {HOST}/team/blog",
    ]


async def test_the_source_of_a_copy_is_compared(world: World, server: EnrolledServer) -> None:
    source, target = [await world.add_registry(host=HOST) for _ in range(2)]
    application_id = await add_application(world, source)
    await add_build(world, application_id, f"{HOST}/team/shop:v1")
    copy = ImageCopy(
        source=f"{HOST}/team/shpo:1",
        source_registry_id=source,
        reference=f"{HOST}/other/shop:1",
        registry_id=target,
    )

    reading = await fail(world, server, copy)
    writing = await fail(world, server, copy, code="repo_missing", stage="push")

    assert reading["remedy"].startswith(f"Did you mean {HOST}/team/shop?")
    assert writing["remedy"] == GENERAL


async def test_nothing_is_named_that_the_login_does_not_pull(
    world: World, server: EnrolledServer
) -> None:
    mine, other = [await world.add_registry(host=HOST) for _ in range(2)]
    application_id = await add_application(world, other)
    await add_build(world, application_id, f"{HOST}/team/shop:v1")
    kept = await add_application(world, mine, rollback_registry_id=other)
    await add_build(world, kept, f"{HOST}/mine/app:1", retained=f"{HOST}/team/blog:1")

    typed = [("team/shpo", mine), ("team/bolg", mine), ("team/shpo", None)]
    errors = [await fail(world, server, pull(name, login)) for name, login in typed]

    assert [error["remedy"] for error in errors] == [GENERAL] * 3


async def test_a_name_that_the_worker_knows_better_stays(
    world: World, server: EnrolledServer
) -> None:
    registry_id = await world.add_registry(host=HOST)
    application_id = await add_application(world, registry_id)
    await add_build(world, application_id, f"{HOST}/team/shop:v1")
    known = f"Did you mean the tag 2? {GENERAL}"

    error = await fail(world, server, pull("team/shpo", registry_id), remedy=known)
    denied = await fail(world, server, pull("team/shpo", registry_id), code="pull_denied")

    assert (error["remedy"], denied["remedy"]) == (known, GENERAL)
