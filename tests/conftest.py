"""Parts that all tests share: their order, a real PostgreSQL, a migrated database."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.databases import Database, start_postgres
from tests.engines import choose_engine
from tests.pooling import pooling
from tests.world import World, open_world
from worker.local.postgres import LocalPostgres

TESTS = Path(__file__).parent
LONGEST_FIRST = (
    *("journeys", "worker/local/test_up.py", "docs/test_examples.py", "chaos"),
    *("worker/deployments", "faults", "worker/images", "worker/builds", "worker/local"),
    *("worker/engine", "attacks", "conformance", "scale", "api", "worker/control", "worker/oci"),
    *("shared", "worker"),
)
"""The folders in the order in which they are begun, so that the processes end at the same time;
what is not named comes last."""

APART = ("tests/journeys/test_demo.py", "tests/journeys/console")
"""Journeys that use nothing of the others, or have parts of their own so as not to wait."""

ON_REAL_PARTS = {"namespace", "manager", "network"}
"""Fixtures of which one is behind each test that needs an Engine or root, journeys aside."""

REAL_PARTS = ("journeys", "chaos", "faults", "docs/test_examples.py")
"""Tests that need an Engine or root without one of these fixtures."""

UNMEASURED = (
    *("attacks", "conformance", "scale", "chaos", "faults", "journeys", "api/test_contract.py"),
    *("docs/test_examples.py", "api/console/test_chromium.py", "api/test_generated_client.py"),
    *("api/fields/test_effects.py", "api/fields/test_shapes.py", "api/http/openapi"),
)
"""Where coverage is not measured: other tests run all that is run here. In the tests' own process
too, but for journeys, which alone use parts of `worker.local`."""

MEASURED = ("journeys/test_demo.py", "journeys/test_servers.py")
"""Journeys that start the programs themselves, and so measure these."""

MEASURE_CHILDREN = "COVERAGE_PROCESS_CONFIG"


MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - pytest makes a private folder in it
MEMORY_DISK_BYTES = 8 * 1024**3


def choose_temporary_directory() -> None:
    """Put temporary files in memory if there is room, unless TMPDIR says where.

    The databases and Engines of the tests write many small files, and nothing has to be kept.
    """
    is_large = MEMORY_DISK.is_dir() and shutil.disk_usage(MEMORY_DISK).free >= MEMORY_DISK_BYTES
    if is_large and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY_DISK)


choose_engine()
choose_temporary_directory()
# A process holds the code of all tests, which the collector would search again and again.
gc.set_threshold(50_000, 20, 100)


class Scheduler(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a process all tests of a file, as they share its fixtures, or all journeys."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        if folder in APART:
            return folder
        if file in APART or not f"{folder}/".startswith("tests/journeys/"):
            return file
        return "tests/journeys"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduler:
    """Distribute files in the order of `LONGEST_FIRST`."""
    config.option.loadscopereorder = False
    return Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first; mark those on real parts, and those without coverage."""
    items.sort(key=_rank)
    for item in items:
        if _is_unmeasured(item) and not _is_in(item.path, "journeys"):
            item.add_marker(pytest.mark.no_cover)
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & ON_REAL_PARTS or any(_is_in(item.path, name) for name in REAL_PARTS):
            item.add_marker(pytest.mark.real_parts)


def pytest_collection_finish() -> None:
    """Leave out from now on what was collected: it lives as long as the process."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Start processes without coverage where it is not measured: it takes half their time."""
    config = os.environ.pop(MEASURE_CHILDREN, None) if _is_unmeasured(item) else None
    try:
        return (yield)
    finally:
        if config is not None:
            os.environ[MEASURE_CHILDREN] = config


def _rank(item: pytest.Item) -> int:
    ranks = (rank for rank, name in enumerate(LONGEST_FIRST) if _is_in(item.path, name))
    return next(ranks, len(LONGEST_FIRST))


def _is_unmeasured(item: pytest.Item) -> bool:
    return any(_is_in(item.path, name) for name in UNMEASURED) and not any(
        _is_in(item.path, name) for name in MEASURED
    )


@cache
def _is_in(file: Path, name: str) -> bool:
    """Return whether the file is this one or in this folder; thousands of tests ask the same."""
    return f"{file.relative_to(TESTS).as_posix()}/".startswith(f"{name}/")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    """The embedded server of this test process."""
    server = start_postgres(tmp_path_factory.mktemp("postgres"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_database(postgres: LocalPostgres) -> Iterator[Database]:
    """An empty, migrated database that nobody else uses."""
    fresh = Database.create(postgres)
    try:
        yield fresh
    finally:
        fresh.drop()


@pytest.fixture
def database(own_database: Database) -> Database:
    """The database of a test; folders of many tests share one instead."""
    return own_database


@pytest.fixture(scope="session")
def shared_database(postgres: LocalPostgres) -> Iterator[Database]:
    """A migrated database that each world leaves empty: five times as fast as one of its own."""
    fresh = Database.create(postgres)
    try:
        with pooling(fresh.name, postgres.port):
            yield fresh
    finally:
        fresh.drop()


@pytest.fixture
async def world(shared_database: Database) -> AsyncIterator[World]:
    """An organization in an empty database."""
    async with open_world(shared_database) as opened:
        yield opened
        await opened.empty()
