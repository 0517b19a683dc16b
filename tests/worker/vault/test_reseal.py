import contextlib
import re

import httpx2
import psycopg

from shared.vault import KeyRing, PrivateKey
from tests.api.asking import create_registry
from tests.api.fleet import TestServer
from tests.databases import Database
from tests.worker.vault.storing import store_everything
from worker.control.audit.signing import open_signing_key
from worker.local.postgres import OWNER
from worker.vault.places import PLACES
from worker.vault.reseal import find_remaining, prefix, reseal

ALL_ROWS = "SELECT to_jsonb(t)::text FROM public.{} t"
TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
CONSTRAINTS = """
SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
 WHERE contype = 'c' AND pg_get_constraintdef(oid) LIKE '%%starts_with(%%''v1.''%%'
"""
PURPOSES = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
 WHERE conrelid = 'job_secret'::regclass AND conname LIKE '%%purpose_known'
"""


def count_sealed(database: Database, key: PrivateKey) -> dict[str, int]:
    """Return how often each table holds something that is sealed to a key."""
    counts = {}
    with psycopg.connect(database.url(OWNER)) as connection:
        for (table,) in connection.execute(TABLES).fetchall():
            rows = connection.execute(ALL_ROWS.format(table).encode()).fetchall()
            found = sum(row.count(prefix(key.public)) for (row,) in rows)
            if found:
                counts[table] = found
    return counts


def open_all(database: Database, keys: KeyRing) -> list[str]:
    """Return all stored secrets in clear."""
    opened = []
    with psycopg.connect(database.url(OWNER), row_factory=psycopg.rows.dict_row) as connection:
        for place in PLACES:
            columns = f"{place.sealed} AS sealed, {place.fields}"
            rows = connection.execute(place.select("true", columns=columns)).fetchall()
            opened += [keys.open(row["sealed"], place.context(row)) for row in rows]
    return sorted(opened)


def test_every_sealed_column_is_covered(database: Database) -> None:
    covered = {(place.target, place.column) for place in PLACES}

    for table, definition in database.execute(CONSTRAINTS):
        column = re.search(r"starts_with\(\(*(\w+)", str(definition))
        assert column is not None, definition
        assert (table, column[1]) in covered, f"add {table}.{column[1]} to worker/vault/places.py"


def test_every_purpose_of_a_secret_of_a_job_is_covered(database: Database) -> None:
    [(definition,)] = database.execute(PURPOSES)
    purposes = set(re.findall(r"'(\w+)'", str(definition))) - {"login"}

    assert purposes == {
        place.name.partition(".")[2] for place in PLACES if place.target == "job_secret"
    }


async def test_all_that_the_api_stores_is_sealed_to_the_new_key(
    client: httpx2.AsyncClient, server: TestServer, database: Database, vault_key: PrivateKey
) -> None:
    await store_everything(client, server)
    async with database.session("wharf_control") as control:
        await open_signing_key(control, KeyRing([vault_key]))
    url, new = database.url(OWNER), PrivateKey.generate()
    stored = {place.name for place in PLACES}
    before, clear = count_sealed(database, vault_key), open_all(database, KeyRing([vault_key]))
    found = {one.place for one in find_remaining(url, new.public)}

    outcome = reseal(url, KeyRing([new, vault_key]), new.public, batch=2)

    assert found == stored  # each kind was there
    assert outcome.unopened == {}
    assert outcome.resealed == len(clear) == sum(before.values())
    assert count_sealed(database, vault_key) == {}
    assert count_sealed(database, new) == before
    assert open_all(database, KeyRing([new])) == clear
    assert find_remaining(url, new.public) == []


async def test_a_secret_that_is_changed_meanwhile_is_not_overwritten(
    client: httpx2.AsyncClient, database: Database, vault_key: PrivateKey
) -> None:
    await create_registry(client, password="before")
    url, new = database.url(OWNER), PrivateKey.generate()
    ring = KeyRing([new, vault_key])

    class Changing(KeyRing):
        def open(self, sealed: str, context: object) -> str:
            database.execute("UPDATE registry SET password = 'v1.changed'")
            return ring.open(sealed, context)  # type: ignore[arg-type]

    outcome = reseal(url, Changing([]), new.public)

    assert (outcome.resealed, outcome.changed_meanwhile) == (0, 1)
    assert database.execute("SELECT password FROM registry") == [("v1.changed",)]


async def test_what_does_not_open_is_named_and_the_rest_goes_on(
    client: httpx2.AsyncClient, database: Database, vault_key: PrivateKey
) -> None:
    broken = await create_registry(client)
    await create_registry(client, registryUrl="quay.io", imagePrefix="team")
    damaged = f"{prefix(vault_key.public)}damaged"
    database.execute(
        "UPDATE registry SET password = %s WHERE registry_id = %s", damaged, broken["registryId"]
    )
    url, new = database.url(OWNER), PrivateKey.generate()

    outcome = reseal(url, KeyRing([new, vault_key]), new.public)

    assert outcome.unopened == {"registry.password": [broken["registryId"]]}
    assert outcome.resealed == 1
    assert [one.count for one in find_remaining(url, new.public)] == [1]


async def test_a_repetition_goes_on_where_one_ended(
    client: httpx2.AsyncClient, database: Database, vault_key: PrivateKey
) -> None:
    for number in range(7):
        await create_registry(client, registryUrl=f"r{number}.example", imagePrefix="team")
    url, new = database.url(OWNER), PrivateKey.generate()
    keys = KeyRing([new, vault_key])

    runs = [_reseal_until(url, keys, new, batches) for batches in (1, 2, 9)]

    assert runs == [2, 4, 1]
    assert count_sealed(database, vault_key) == {}


class _StopError(Exception):
    pass


def _reseal_until(url: str, keys: KeyRing, new: PrivateKey, batches: int) -> int:
    """Stop after so many batches; return the number of secrets that were done."""
    done: list[int] = []

    def show(_place: str, count: int) -> None:
        done.append(count)
        if len(done) == batches:
            raise _StopError

    with contextlib.suppress(_StopError):
        reseal(url, keys, new.public, batch=2, show=show)
    return done[-1]
