"""``wharf audit export`` and ``verify``: the log in the database, and its files."""

import csv
import json
import re
from pathlib import Path

import pytest

from shared.audit.checkpoints import SigningKey
from shared.database import open_pool
from shared.ids import make_id
from shared.vault import KeyRing, PrivateKey
from tests.api.cli.running import run
from tests.databases import Database
from worker.control.audit.chaining import chain_entries
from worker.control.audit.signing import Checkpoints

ADD = """
INSERT INTO audit_event (audit_event_id, organization_id, action, object_id, data)
SELECT %s, organization_id, 'registry.update', '=1+1', '{"name": "=cmd()", "é": [1, true, null]}'
  FROM organization LIMIT 1
"""
FREE = "ALTER TABLE audit_event DISABLE TRIGGER USER"


@pytest.fixture
async def log(database: Database, url: str) -> Database:
    """A log with five entries, of which the last has no checkpoint."""
    vault = KeyRing([PrivateKey.generate()])
    async with open_pool(database.url("wharf_control"), size=1) as pool:
        for count in (4, 1):
            for _ in range(count):
                database.execute(ADD, make_id())
            async with pool.connection() as connection:
                await chain_entries(connection)
                await Checkpoints(vault).sign_due(connection)
    return database


async def test_the_log_in_the_database_is_verified(url: str, log: Database) -> None:
    good = await run(url, "audit", "verify")
    log.execute(FREE)
    log.execute("UPDATE audit_event SET action = 'x' WHERE sequence = 2")
    bad = await run(url, "audit", "verify")

    assert (good.code, good.out.splitlines()[-1]) == (0, "verified")
    assert "entries: 5" in good.out
    assert bad.code == 1
    assert bad.out.splitlines()[0] == ("entry 2: entry_changed: the entry does not have its hash")
    assert bad.out.splitlines()[-1] == "NOT VERIFIED: the log was changed"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
async def test_an_exported_file_is_verified_and_each_change_of_it_found(
    url: str, log: Database, tmp_path: Path, form: str
) -> None:
    file = tmp_path / f"audit.{form}"
    exported = await run(url, "audit", "export", str(file), "--format", form)
    good = await run(url, "audit", "verify", str(file))
    content = file.read_text()
    lines = content.splitlines(keepends=True)
    third = re.compile(r'"sequence": 3|^entry,[^,]*,3,')
    [place] = [number for number, line in enumerate(lines) if third.search(line)]
    changed = {
        "entry_changed": content.replace("registry.update", "registry.remove", 1),
        "entry_missing": "".join(lines[:place] + lines[place + 1 :]),
        "entry_repeated": "".join([*lines[: place + 1], *lines[place:]]),
        "export_cut_off": "".join(lines[:-1]),
    }

    assert exported.err == f"{file}: 5 entries\n"
    assert (good.code, good.out.splitlines()[-1]) == (0, "verified")
    for code, text in changed.items():
        file.write_text(text)
        found = await run(url, "audit", "verify", str(file))
        assert (found.code, code in found.out) == (1, True), (code, found.out)


async def test_a_spreadsheet_runs_no_cell_of_the_log(
    url: str, log: Database, tmp_path: Path
) -> None:
    file = tmp_path / "audit.csv"
    await run(url, "audit", "export", str(file), "--format", "csv")

    rows = list(csv.DictReader(file.read_text().splitlines()))
    entry = next(row for row in rows if row["type"] == "entry")
    assert entry["objectId"] == "'=1+1"
    assert json.loads(entry["data"]) == {"name": "=cmd()", "é": [1, True, None]}


async def test_only_the_given_key_and_hash_count(url: str, log: Database) -> None:
    verified = (await run(url, "audit", "verify")).out
    key = verified.split("public key: ")[1].split()[0]
    newest = verified.split("newest: ")[1].split()[0]
    other = str(SigningKey.generate().public)

    same = await run(url, "audit", "verify", "--public-key", key, "--known", newest)
    foreign = await run(url, "audit", "verify", "--public-key", other)
    unknown = await run(url, "audit", "verify", "--known", f"2:{'0' * 64}")
    beyond = await run(url, "audit", "verify", "--known", f"9:{'0' * 64}")

    assert (same.code, foreign.code, unknown.code, beyond.code) == (0, 1, 1, 1)
    assert "key_unknown" in foreign.out
    assert "entry 2: known_differs" in unknown.out
    assert "entry 9: known_missing" in beyond.out


async def test_what_is_no_log_or_no_key_is_refused(url: str, log: Database, tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("{}\n")

    refused = [
        await run(url, "audit", "verify", str(file)),
        await run(url, "audit", "verify", str(tmp_path / "none")),
        await run(url, "audit", "export", str(file)),
        await run(url, "audit", "verify", "--public-key", "x"),
        await run(url, "audit", "verify", "--known", "x"),
    ]

    assert [one.code for one in refused] == [1] * 5
    assert "line 1 is not one of an exported audit log" in refused[0].err
