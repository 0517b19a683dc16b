"""Files that no row knows go; nothing else in the directory does."""

import os
import time
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from api.main import create_app
from api.uploads.cleanup import GRACE, clean_up
from api.uploads.store import DRAFT, FOLDER, ContextStore
from shared.database import open_pool
from shared.errors import SetupError
from shared.ids import make_id
from shared.settings import ApiSettings
from tests.api.asking import create_application, until, upload_context


@pytest.fixture
def stored(settings: ApiSettings) -> ContextStore:
    assert settings.data_dir
    return ContextStore.open(settings.data_dir, 1000)


def age(path: Path, by: timedelta = GRACE) -> None:
    past = time.time() - by.total_seconds() - 1
    os.utime(path, (past, past))


def leave(store: ContextStore, name: str, *, is_old: bool = True) -> str:
    (store.directory / name).write_bytes(b"x")
    if is_old:
        age(store.directory / name)
    return name


def names(store: ContextStore) -> set[str]:
    return {path.name for path in store.directory.iterdir()}


async def test_an_upload_without_an_owner_is_deleted_once_it_is_old(
    client: httpx2.AsyncClient, settings: ApiSettings, stored: ContextStore
) -> None:
    application = await create_application(client)
    good = (await upload_context(client, application["applicationId"]))["contextId"]
    age(stored.path(good))
    for name in (make_id(), f"{make_id()}{DRAFT}"):
        leave(stored, name)
    young = leave(stored, f"{make_id()}{DRAFT}", is_old=False)
    foreign = leave(stored, "somebody's.txt")

    async with open_pool(settings.url) as pool:
        removed = await clean_up(stored, pool)

    assert removed == 2
    assert names(stored) == {good, young, foreign}


async def test_a_context_goes_with_its_application(
    client: httpx2.AsyncClient, settings: ApiSettings, stored: ContextStore
) -> None:
    chosen = {"applicationId": (await create_application(client))["applicationId"]}
    await upload_context(client, chosen["applicationId"])

    await client.post("/api/application.remove", json=chosen)
    async with open_pool(settings.url) as pool:
        await clean_up(stored, pool, grace=timedelta(seconds=-1))

    assert names(stored) == set()


async def test_leftovers_are_removed_at_the_start(
    settings: ApiSettings, stored: ContextStore
) -> None:
    leave(stored, f"{make_id()}{DRAFT}")
    app = create_app(settings)

    async with app.router.lifespan_context(app):
        await until(lambda: names(stored) == set())


async def test_a_directory_that_cannot_be_made_is_no_start(
    settings: ApiSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    blocked = {**settings.model_dump(), "data_dir": tmp_path / "file" / FOLDER}
    app = create_app(ApiSettings.model_validate(blocked))

    with pytest.raises(SetupError, match="uploads cannot be stored"):
        async with app.router.lifespan_context(app):
            pass
