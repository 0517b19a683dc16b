"""Both clients call the real API: typed inputs, typed answers, errors with their codes."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from tests.api.asking import upload_context
from tests.api.client.pipeline import Pipeline, open_pipeline
from tests.api.fleet import TestServer, good_report
from wharfinger import ApiError, Options, models

SECRET = "a password that nobody may read"


async def create_registry(pipeline: Pipeline) -> models.CreatedRegistry:
    created: models.CreatedRegistry = await pipeline.do(
        lambda client: client.registry.create(
            registry_name="ours", registry_url="ghcr.io", username="me", password=SECRET
        )
    )
    return created


async def test_a_registry_is_created_listed_and_changed(pipeline: Pipeline) -> None:
    created = await create_registry(pipeline)
    chosen = created.registry_id
    changed = await pipeline.do(
        lambda client: client.registry.update(registry_id=chosen, registry_name="theirs")
    )
    listed = await pipeline.do(lambda client: client.registry.all())

    assert changed is True
    assert [(each.registry_id, each.registry_name) for each in listed] == [(chosen, "theirs")]
    assert isinstance(listed[0], models.Registry)
    assert listed[0].created_at.tzinfo is not None


async def test_parts_of_an_input_are_models_and_what_is_omitted_is_left_to_the_api(
    pipeline: Pipeline,
) -> None:
    port = models.Port(published_port=80, target_port=8080)
    made = await pipeline.do(
        lambda client: client.application.create(
            "shop", ports=[port], health_check=models.HealthCheck(command=["true"])
        )
    )
    shown = await pipeline.do(lambda client: client.application.one(made.application_id))

    assert shown.ports == [port]
    assert shown.health_check == models.HealthCheck(command=["true"])
    assert shown.rollbacks_to_keep == 10


async def test_null_resets_a_field_and_an_omitted_one_stays(pipeline: Pipeline) -> None:
    made = await pipeline.do(
        lambda client: client.application.create(
            "shop", platform="linux/amd64", stop_grace_seconds=20
        )
    )
    await pipeline.do(lambda client: client.application.update(made.application_id, platform=None))
    shown = await pipeline.do(lambda client: client.application.one(made.application_id))

    assert (shown.platform, shown.stop_grace_seconds) == (None, 20)


async def test_a_test_that_is_not_awaited_answers_its_job(
    pipeline: Pipeline, server: TestServer
) -> None:
    created = await create_registry(pipeline)

    accepted = await pipeline.do(
        lambda client: client.registry.test_by_id(created.registry_id, respond_async=True)
    )
    job = await pipeline.do(lambda client: client.job.one(accepted.job_id))

    assert isinstance(accepted, models.AcceptedJob)
    assert (job.kind, job.state) == ("registry.test", "queued")


async def test_a_registry_is_tested_and_the_answer_is_awaited(
    pipeline: Pipeline, server: TestServer
) -> None:
    created = await create_registry(pipeline)

    is_good, _ = await asyncio.gather(
        pipeline.do(lambda client: client.registry.test_by_id(created.registry_id)),
        server.succeed_next(good_report()),
    )

    assert is_good is True


async def test_a_refusal_has_the_code_the_remedy_the_status_and_the_request(
    pipeline: Pipeline,
) -> None:
    created = await create_registry(pipeline)

    with pytest.raises(ApiError) as caught:
        await pipeline.do(
            lambda client: client.registry.update(
                registry_id=created.registry_id, username="another"
            )
        )

    error = caught.value
    assert (error.code, error.status) == ("password_needed", 400)
    assert error.remedy
    assert error.request_id
    assert str(error).startswith("password_needed: ")
    assert error.remedy in str(error)
    assert error.request_id in str(error)


async def test_each_invalid_field_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(ApiError) as caught:
        await pipeline.do(lambda client: client.application.create("", replicas=-1))

    assert caught.value.code == "bad_input"
    assert "replicas: " in str(caught.value)
    assert len(caught.value.issues) == 2


async def test_warnings_of_the_api_are_given(kind: str, url: str) -> None:
    said: list[str] = []
    async with open_pipeline(kind, url, options=Options(on_warning=said.append)) as pipeline:
        await pipeline.do(lambda client: client.application.create("shop", replicas=2))

    assert said == ["replicas has no effect if runtime is container, only if it is service"]


@pytest.mark.parametrize("how", ["bytes", "file", "directory"])
async def test_a_context_is_uploaded(
    pipeline: Pipeline, tmp_path: Path, client: httpx2.AsyncClient, how: str
) -> None:
    made = await pipeline.do(lambda client: client.application.create("shop"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    source: bytes | Path = tmp_path
    if how != "directory":
        source = b"a tar"
        if how == "file":
            source = tmp_path / "context.tar"
            source.write_bytes(b"a tar")

    stored = await pipeline.do(
        lambda client: client.application.upload_context(made.application_id, source)
    )

    if how == "directory":
        assert stored.size_bytes >= 1024
    else:
        expected = await upload_context(client, made.application_id)
        assert stored.sha256 == expected["sha256"]
        assert stored.size_bytes == 5


async def test_no_key_and_no_password_is_in_a_representation(pipeline: Pipeline) -> None:
    registry = await create_registry(pipeline)
    key = await pipeline.do(lambda client: client.api_key.create("pipeline"))
    server = await pipeline.do(lambda client: client.server.create("alpha"))
    hook = await pipeline.do(
        lambda client: client.webhook.create(url="https://a.example/", events=["build.ended"])
    )

    shown = f"{registry!r} {key!r} {server!r} {hook!r} {pipeline.client!r}"
    for secret in (SECRET, key.key, server.join_token, hook.secret):
        assert secret not in shown
    assert key.start in shown
