"""Whoever owns the table may change it, but not without being found."""

import pytest

from shared.audit.checkpoints import Checkpoint, SigningKey
from shared.audit.store import read_log
from tests.worker.control.audit.log import add_entries, chain, make_log, verify
from tests.world import World
from worker.control.audit.signing import open_signing_key

FREE = "ALTER TABLE audit_event DISABLE TRIGGER USER"
REHASH = """
DO $$
DECLARE
  e record;
  before bytea := (SELECT hash FROM audit_event WHERE sequence = 1);
BEGIN
  FOR e IN SELECT * FROM audit_event WHERE sequence > 1 ORDER BY sequence LOOP
    before := sha256(before || convert_to(e.action, 'UTF8'));
    UPDATE audit_event SET hash = before WHERE audit_event_id = e.audit_event_id;
  END LOOP;
END $$
"""
RENUMBER = "UPDATE audit_event SET sequence = -sequence WHERE sequence >= 5"
SHIFT = "UPDATE audit_event SET sequence = 1 - sequence WHERE sequence < 0"
INSERT = """
INSERT INTO audit_event (audit_event_id, organization_id, action, sequence, previous_hash, hash)
SELECT 'forged', organization_id, 'registry.create', {}, hash, sha256('forged') FROM audit_event
 WHERE sequence = {}
"""
SWAP = """
UPDATE audit_event SET sequence = CASE sequence WHEN -3 THEN 5 WHEN -5 THEN 3 END
 WHERE sequence < 0
"""
CUT_HEAD = """
UPDATE audit_chain c SET sequence = 6, hash = e.hash FROM audit_event e WHERE e.sequence = 6
"""
CHANGE = "UPDATE audit_event SET {} WHERE sequence = 3"
UNPLACE = "UPDATE audit_event SET sequence = NULL, previous_hash = NULL, hash = NULL"
TAMPERING = {
    "another action": (
        [CHANGE.format("action = 'x'")],
        "entry_changed",
        3,
    ),
    "another actor": (
        [CHANGE.format("actor_id = 'x'")],
        "entry_changed",
        3,
    ),
    "another object": (
        ["UPDATE audit_event SET object_id = 'x' WHERE sequence = 9"],
        "entry_changed",
        9,
    ),
    "other data": (
        ["UPDATE audit_event SET data = data || '{\"n\": 7}' WHERE sequence = 1"],
        "entry_changed",
        1,
    ),
    "another time": (
        ["UPDATE audit_event SET at = at - interval '1 microsecond' WHERE sequence = 2"],
        "entry_changed",
        2,
    ),
    "first removed": (["DELETE FROM audit_event WHERE sequence = 1"], "entry_missing", 1),
    "one removed": (["DELETE FROM audit_event WHERE sequence = 5"], "entry_missing", 5),
    "removed and renumbered": (
        [
            "DELETE FROM audit_event WHERE sequence = 5",
            "UPDATE audit_event SET sequence = -sequence WHERE sequence > 5",
            "UPDATE audit_event SET sequence = -sequence - 1 WHERE sequence < 0",
        ],
        "chain_broken",
        5,
    ),
    "inserted": ([RENUMBER, SHIFT, INSERT.format(5, 4)], "entry_changed", 5),
    "added": ([INSERT.format(10, 9)], "end_differs", 10),
    "swapped": (
        ["UPDATE audit_event SET sequence = -sequence WHERE sequence IN (3, 5)", SWAP],
        "chain_broken",
        3,
    ),
    "cut off": (["DELETE FROM audit_event WHERE sequence > 6"], "log_cut_off", 7),
    "cut off with its head": (
        [
            "DELETE FROM audit_event WHERE sequence > 6",
            CUT_HEAD,
        ],
        "log_cut_off",
        7,
    ),
    "cut off with its checkpoint": (
        [
            "DELETE FROM audit_event WHERE sequence > 6",
            "DELETE FROM audit_checkpoint WHERE sequence > 6",
            CUT_HEAD,
        ],
        "checkpoint_missing",
        7,
    ),
    "checkpoint removed": (
        ["DELETE FROM audit_checkpoint WHERE number = 2"],
        "checkpoint_missing",
        5,
    ),
    "checkpoint changed": (
        ["UPDATE audit_checkpoint SET hash = sha256('x') WHERE number = 2"],
        "signature_invalid",
        6,
    ),
    "hashed again": (
        [CHANGE.format("action = 'x'"), REHASH],
        "checkpoint_differs",
        4,
    ),
    "place taken away": (
        [f"{UNPLACE} WHERE sequence = 4"],
        "entry_missing",
        4,
    ),
    "all removed": (["DELETE FROM audit_event"], "log_cut_off", 1),
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_tampering_as_the_owner_is_found_where_it_was_done(world: World, name: str) -> None:
    statements, code, sequence = TAMPERING[name]
    await make_log(world)
    untouched = await verify(world)
    await world.owner.execute(FREE)

    for statement in statements:
        await world.owner.execute(statement.encode())

    assert (untouched.findings, untouched.entries) == ([], 9)
    found = {(one.code, one.sequence) for one in (await verify(world)).findings}
    assert (code, sequence) in found


async def test_a_log_that_is_hashed_and_signed_anew_is_found_by_the_known_key(
    world: World,
) -> None:
    await make_log(world)
    key = (await open_signing_key(world.control, world.keys)).public
    await world.owner.execute(FREE)
    for table in ("audit_event", "audit_chain", "audit_checkpoint", "audit_key"):
        await world.owner.execute(f"DELETE FROM {table}".encode())
    await add_entries(world, 3)
    await chain(world)

    assert (await verify(world)).findings == []
    found = (await verify(world, [key])).findings
    assert {one.code for one in found} == {"key_unknown"}


async def test_an_entry_is_not_moved_to_another_organization(world: World) -> None:
    await make_log(world)
    await world.owner.execute("INSERT INTO organization VALUES ('other', 'Other')")
    await world.owner.execute(FREE)

    await world.owner.execute("UPDATE audit_event SET organization_id = 'other' WHERE sequence = 3")

    assert [(one.code, one.sequence) for one in (await verify(world)).findings] == [
        ("entry_missing", 3)
    ]


async def test_a_signature_is_of_one_key(world: World) -> None:
    await make_log(world)
    lines = [line async for line in read_log(world.control, world.organization_id)]
    signed = [line for line in lines if isinstance(line, Checkpoint)]
    own = (await open_signing_key(world.control, world.keys)).public
    other = SigningKey.generate().public

    assert [own.has_signed(one, one.signature) for one in signed] == [True] * 3
    assert [other.has_signed(one, one.signature) for one in signed] == [False] * 3
