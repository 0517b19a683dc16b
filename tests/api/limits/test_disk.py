"""A full disk is called so: writes are answered 503 with the remedy, reads go on."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from api.limits.disk import LEAST_FREE_BYTES, REMEMBERED, DiskWatch, is_disk_full
from tests.api.asking import GHCR, create_registry
from tests.databases import Database
from tests.small_disks import open_small_disk

FULL = """
CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$
"""
TRIGGER = """
CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON public.{table}
  FOR EACH ROW EXECUTE FUNCTION public.no_room()
"""


@pytest.fixture
def full(database: Database, client: httpx2.AsyncClient) -> Iterator[None]:
    """PostgreSQL answers each write as it does on a full disk."""
    database.execute("UPDATE api_key SET last_used_at = NULL")
    database.execute(FULL)
    for table in ("registry", "api_key", "job"):
        database.execute(TRIGGER.format(table=table))
    yield
    database.execute("DROP FUNCTION public.no_room CASCADE")


async def test_a_write_says_that_the_disk_is_full_and_what_to_do(
    client: httpx2.AsyncClient, full: None
) -> None:
    answer = await client.post("/api/registry.create", json=GHCR)

    assert answer.status_code == 503
    body = answer.json()
    assert "disk is full" in body["message"]
    assert body["data"]["cause"]["code"] == "database_disk_full"
    assert "Free space" in body["data"]["cause"]["remedy"]


async def test_reads_go_on_while_the_disk_is_full(client: httpx2.AsyncClient, full: None) -> None:
    answers = [await client.get(f"/api/{name}") for name in ("registry.all", "server.all")]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_readiness_and_metrics_name_the_disk_after_a_write_that_failed(
    client: httpx2.AsyncClient, database: Database, full: None
) -> None:
    database.execute("INSERT INTO control (control_id, version) VALUES ('c', '0')")
    before = await client.get("/readyz")
    await client.post("/api/registry.create", json=GHCR)
    after, metrics = await client.get("/readyz"), await client.get("/metrics")

    assert before.json()["status"] == "ready"
    assert (after.status_code, after.json()["failing"]) == (503, ["disk"])
    assert "wharf_disk_full 1.0" in metrics.text
    assert "wharf_uploads_free_bytes" in metrics.text


async def test_a_disk_with_room_stores_again(
    client: httpx2.AsyncClient, database: Database, full: None
) -> None:
    await client.post("/api/registry.create", json=GHCR)
    database.execute("DROP TRIGGER no_room ON public.registry")

    assert (await create_registry(client))["registryId"]


def test_a_failed_write_is_remembered_for_a_while() -> None:
    now = [0.0]
    disk = DiskWatch(None, clock=lambda: now[0])

    disk.note_failed_write()
    seen = []
    for moment in (REMEMBERED - timedelta(seconds=1), REMEMBERED + timedelta(seconds=1)):
        now[0] = moment.total_seconds()
        seen.append(disk.is_full())

    assert seen == [True, False]


def test_a_data_directory_with_little_room_is_a_full_disk(tmp_path: Path) -> None:
    with (
        open_small_disk(tmp_path / "small", LEAST_FREE_BYTES // 2) as small,
        open_small_disk(tmp_path / "large", LEAST_FREE_BYTES * 2) as large,
    ):
        assert DiskWatch(small).is_full()
        assert not DiskWatch(large).is_full()


def test_a_data_directory_that_is_gone_says_nothing(tmp_path: Path) -> None:
    gone = DiskWatch(tmp_path / "gone")

    assert gone.free_bytes() is None
    assert not gone.is_full()


def test_a_full_disk_is_known_by_its_code_also_through_sqlalchemy() -> None:
    full = psycopg.errors.DiskFull()

    assert is_disk_full(full)
    assert is_disk_full(OperationalError("INSERT", {}, full))
    assert not is_disk_full(psycopg.OperationalError())
