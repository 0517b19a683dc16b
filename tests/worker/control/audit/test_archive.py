"""Old entries are exported and verified before they are removed; the chain goes on."""

import json
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from shared.audit.lines import parse_line
from shared.audit.verification import Verification
from tests.worker.control.audit.log import make_log, verify
from tests.world import World
from worker.control.audit.archive import Archive

AGE = timedelta(days=365)
FREE = "ALTER TABLE audit_event DISABLE TRIGGER USER"


async def close(world: World, directory: Path, age: timedelta = timedelta(0)) -> list[Path]:
    """Close what is older; return the files."""
    await Archive(world.keys, directory, age).close_due(world.control)
    return sorted(directory.iterdir())  # noqa: ASYNC240 - a test's own folder


def read(path: Path) -> Verification:
    verification = Verification()
    verification.add_all(parse_line(json.loads(line)) for line in path.read_text().splitlines())
    return verification


async def test_the_log_and_the_files_verify_after_segments_were_closed(
    world: World, tmp_path: Path
) -> None:
    await make_log(world)
    await close(world, tmp_path)
    await make_log(world)

    files = await close(world, tmp_path)

    found = await verify(world)
    assert (found.findings, found.entries, found.last_sequence) == ([], 1, 18)
    in_files = [read(path) for path in files]
    assert [(one.findings, one.entries) for one in in_files] == [([], 8), ([], 9)]
    assert files[0].stat().st_mode & 0o077 == 0


async def test_young_entries_stay(world: World, tmp_path: Path) -> None:
    await make_log(world)

    assert await close(world, tmp_path, AGE) == []
    assert (await verify(world)).entries == 9


async def test_nothing_is_removed_from_a_log_that_was_changed(world: World, tmp_path: Path) -> None:
    await make_log(world)
    await world.owner.execute(FREE)
    await world.owner.execute("UPDATE audit_event SET action = 'x' WHERE sequence = 3")

    await close(world, tmp_path)

    assert len(await world.rows("SELECT FROM audit_event")) == 9


async def test_control_removes_no_entry_that_is_in_no_segment(world: World) -> None:
    await make_log(world)

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.control.execute("DELETE FROM audit_event")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await world.owner.execute("DELETE FROM audit_event")
    with pytest.raises(psycopg.errors.CheckViolation):
        await world.control.execute(
            """SELECT audit_segment_close(jsonb_build_object(
                 'organization_id', organization_id, 'first_sequence', 2, 'last_sequence', 4))
                 FROM organization"""
        )


async def test_a_removed_segment_statement_is_found(world: World, tmp_path: Path) -> None:
    await make_log(world)
    await close(world, tmp_path)
    await world.owner.execute("DELETE FROM audit_segment")

    found = (await verify(world)).findings

    assert ("entry_missing", 1) in {(one.code, one.sequence) for one in found}
