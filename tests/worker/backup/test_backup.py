import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx2
import psycopg
import pytest
from pydantic import SecretStr

from shared.errors import ConflictError, SetupError, WharfError
from shared.jobs.store.cancel import cancel
from shared.jobs.store.release import release
from shared.vault import KeyRing, PrivateKey
from tests.api.asking import create_application, upload_context
from tests.api.fleet import TestServer
from tests.api.scene import open_scene
from tests.databases import TABLES, Database
from tests.worker.backup.conftest import PASSPHRASE
from tests.worker.vault.storing import store_everything
from tests.worker.vault.test_reseal import open_all
from worker.backup.archive import Backup
from worker.backup.make import make_backup
from worker.backup.restore import restore_backup
from worker.vault.installation import Installation
from worker.vault.key_file import write_keys

CONTENT = "SELECT coalesce(jsonb_agg(to_jsonb(t) ORDER BY to_jsonb(t)::text), '[]') FROM {} t"
CHANGED = {"organization", "server", "user_session", "job", "job_attempt", "job_event"} | {
    "job_secret"
}
"""Tables in which a restore changes rows: it holds the jobs, and their attempts lose logins."""


def read_all(database: Database) -> dict[str, object]:
    return {name: database.execute(CONTENT.format(name))[0][0] for name in TABLES}


def back_up(path: Path, installation: Installation, *, contexts: bool = False) -> Path:
    make_backup(path, installation, PASSPHRASE, local=False, contexts=contexts)
    return path


async def test_everything_is_back_elsewhere_and_nothing_runs_by_itself(
    *,
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
    vault_key: PrivateKey,
) -> None:
    async with open_scene(client, database, server):
        pass
    await store_everything(client, server)
    running, *dispatched = await server.release()
    assert dispatched
    await server.claim(running)
    [(organization,)] = database.execute("SELECT organization_id FROM organization LIMIT 1")
    [(cancelled,)] = database.execute(
        "SELECT job_id FROM job WHERE state = 'queued' AND NOT has_needs ORDER BY job_id LIMIT 1"
    )
    async with database.session("wharf_control") as control:
        await cancel(control, str(cancelled), str(organization), "not wanted")
    before, clear = read_all(database), open_all(database, KeyRing([vault_key]))

    path = back_up(tmp_path / "one.wharf", installation)
    restored = restore_backup(path, other, PASSPHRASE)

    after = read_all(elsewhere)
    assert path.stat().st_mode & 0o777 == 0o600
    assert restored.servers == 2 and restored.jobs > 2
    assert {name for name in TABLES if before[name] != after[name]} <= CHANGED | {"audit_event"}
    kept, found = before["audit_event"], after["audit_event"]
    assert isinstance(kept, list) and isinstance(found, list)
    assert [event for event in kept if event not in found] == []
    assert before["rollback"] != []  # what is compared is not nothing
    assert open_all(elsewhere, other.keys.ring()) == clear
    assert other.keys.current().key_id == vault_key.public.key_id
    assert other.keys.public is not None and other.keys.public.exists()
    assert await release_all(elsewhere) == []
    assert elsewhere.execute("SELECT job_id FROM job WHERE state = 'dispatched'") == []
    elsewhere.execute("UPDATE server SET seen_at = now() + interval '1 hour'")
    elsewhere.execute("SELECT organization_resume(%s)", organization)
    released = await release_all(elsewhere)
    assert released != []
    assert cancelled not in released
    assert elsewhere.execute("SELECT state FROM job WHERE job_id = %s", cancelled) == [
        ("cancelled",)
    ]


async def release_all(database: Database) -> list[str]:
    database.execute("UPDATE server SET seen_at = now() + interval '1 hour'")
    async with database.session("wharf_control") as control, control.transaction():
        return [job.job_id for job in await release(control) or []]


async def test_a_backup_under_load_is_one_moment(
    *,
    client: httpx2.AsyncClient,
    database: Database,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
) -> None:
    database.execute("CREATE TABLE public.first (n int); CREATE TABLE public.second (n int)")
    ends = threading.Event()

    def write() -> None:
        with psycopg.connect(installation.url) as connection:
            number = 0
            while not ends.is_set():
                number += 1
                connection.execute("INSERT INTO first VALUES (%s)", (number,))
                connection.execute("INSERT INTO second VALUES (%s)", (number,))
                connection.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        path = back_up(tmp_path / "busy.wharf", installation)
    finally:
        ends.set()
        writer.join()
        found = database.execute("SELECT count(*) FROM first")
        database.execute("DROP TABLE public.first; DROP TABLE public.second")
    restore_backup(path, other, PASSPHRASE)

    [(first, second)] = elsewhere.execute(
        "SELECT (SELECT count(*) FROM first), (SELECT count(*) FROM second)"
    )
    assert first == second
    assert found[0][0] >= first  # type: ignore[operator]


async def test_uploaded_contexts_are_kept_if_they_are_asked_for(
    client: httpx2.AsyncClient,
    database: Database,
    installation: Installation,
    other: Installation,
    tmp_path: Path,
) -> None:

    made = await create_application(client)
    stored = await upload_context(client, made["applicationId"], b"the sources")

    without = back_up(tmp_path / "without.wharf", installation)
    path = back_up(tmp_path / "with.wharf", installation, contexts=True)
    restored = restore_backup(path, other, PASSPHRASE)

    assert other.data_dir is not None
    file = other.data_dir / "contexts" / stored["contextId"]
    assert restored.contexts == 1
    assert file.read_bytes() == b"the sources"
    assert file.stat().st_mode & 0o777 == 0o600
    with Backup.open(without, PASSPHRASE) as backup:
        assert list(backup.contexts()) == []


async def test_a_database_with_content_is_replaced_only_on_demand(
    client: httpx2.AsyncClient,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
) -> None:
    path = back_up(tmp_path / "one.wharf", installation)
    restore_backup(path, other, PASSPHRASE)
    elsewhere.execute("UPDATE organization SET name = 'of the second database'")

    with pytest.raises(ConflictError, match="is not empty"):
        restore_backup(path, other, PASSPHRASE)
    second = back_up(tmp_path / "two.wharf", other)
    restore_backup(path, other, PASSPHRASE, replace=True)
    first_name = elsewhere.execute("SELECT name FROM organization")
    # A backup of what was restored is a backup like any other.
    restore_backup(second, other, PASSPHRASE, replace=True)

    assert first_name != [("of the second database",)]
    assert elsewhere.execute("SELECT name FROM organization") == [("of the second database",)]


async def test_a_database_in_use_is_refused(
    client: httpx2.AsyncClient,
    server: TestServer,
    installation: Installation,
    database: Database,
    tmp_path: Path,
) -> None:
    path = back_up(tmp_path / "one.wharf", installation)
    before = read_all(database)

    with pytest.raises(ConflictError, match="the database is in use"):
        restore_backup(path, installation, PASSPHRASE, replace=True)

    assert read_all(database) == before


async def test_a_restore_that_fails_changes_nothing(
    *,
    client: httpx2.AsyncClient,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = back_up(tmp_path / "one.wharf", installation)
    restore_backup(path, other, PASSPHRASE)
    before = read_all(elsewhere)
    monkeypatch.setattr("worker.backup.restore.HOLD", "SELECT 1/0;")

    with pytest.raises(SetupError, match=r"psql failed: .*division by zero"):
        restore_backup(path, other, PASSPHRASE, replace=True)

    assert read_all(elsewhere) == before


async def test_the_backup_of_a_changing_key_opens_all(
    *,
    client: httpx2.AsyncClient,
    server: TestServer,
    database: Database,
    installation: Installation,
    elsewhere: Database,
    other: Installation,
    tmp_path: Path,
    vault_key: PrivateKey,
) -> None:
    await store_everything(client, server)
    write_keys(installation.keys.private, [PrivateKey.generate(), vault_key])
    there = PrivateKey.generate()
    other.keys.private.parent.mkdir()
    other.keys.private.write_text(there.text())

    restore_backup(back_up(tmp_path / "one.wharf", installation), other, PASSPHRASE)

    kept = [key.public.key_id for key in other.keys.read()]
    assert kept == [key.public.key_id for key in (*installation.keys.read(), there)]
    assert open_all(elsewhere, other.keys.ring()) == open_all(database, KeyRing([vault_key]))


@pytest.fixture
async def made(client: httpx2.AsyncClient, installation: Installation, tmp_path: Path) -> Path:
    return back_up(tmp_path / "made.wharf", installation)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _rewrite(path: Path, change: dict[str, tuple[bytes, bytes]], extra: str = "") -> None:
    """Write the archive again, with sound checksums of its own."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(*change.get(name, (b"", b""))))
        if extra:
            archive.writestr(extra, b"more")


def _other_dump(path: Path) -> None:
    _rewrite(path, {"database.dump": (b"PGDMP", b"PGDMX")})


def _other_manifest(path: Path) -> None:
    _rewrite(path, {"manifest.json": (b'"created_at":"20', b'"created_at":"19')})


def _more(path: Path) -> None:
    _rewrite(path, {}, extra="contexts/../../outside")


def _newer(path: Path) -> None:
    _rewrite(path, {"manifest.json": (b'"format":1', b'"format":2')})


def _other_file(path: Path) -> None:
    path.write_bytes(b"something else")


def _other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", b"a")


def _removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_cut, "is not whole, or was altered"),
        (_half, "is not whole, or was altered"),
        (_flip, "is not whole, or was altered"),
        (_other_dump, "is not whole, or was altered"),
        (_other_manifest, "the passphrase is wrong, or .* was altered"),
        (_more, "is not whole, or was altered"),
        (_newer, "has format 2, and this version reads 1"),
        (_other_file, "is not whole, or was altered"),
        (_other_archive, "is no backup of Wharfinger"),
        (_removed, "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_not_sound_changes_nothing(
    made: Path, elsewhere: Database, other: Installation, change: object, words: str
) -> None:
    change(made)  # type: ignore[operator]

    with pytest.raises(WharfError, match=words):
        restore_backup(made, other, PASSPHRASE)

    assert not other.keys.private.exists()
    assert elsewhere.execute("SELECT to_regclass('public.job')") == [(None,)]


def test_a_wrong_passphrase_changes_nothing(
    made: Path, elsewhere: Database, other: Installation
) -> None:
    with pytest.raises(WharfError, match="the passphrase is wrong"):
        restore_backup(made, other, SecretStr("another passphrase"))

    assert not other.keys.private.exists()
    assert elsewhere.execute("SELECT to_regclass('public.job')") == [(None,)]


async def test_a_backup_of_a_newer_database_is_refused(
    client: httpx2.AsyncClient,
    installation: Installation,
    other: Installation,
    tmp_path: Path,
    database: Database,
) -> None:
    [(revision,)] = database.execute("SELECT version_num FROM alembic_version")
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    try:
        path = back_up(tmp_path / "newer.wharf", installation)
    finally:
        database.execute("UPDATE alembic_version SET version_num = %s", revision)

    with pytest.raises(WharfError, match="whose database is newer"):
        restore_backup(path, other, PASSPHRASE)


async def test_a_backup_that_fails_leaves_no_file(
    client: httpx2.AsyncClient, installation: Installation, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    url = installation.url.replace("wharf_owner:", "wharf_owner:wrong")
    made = back_up(folder / "made.wharf", installation)

    with pytest.raises(psycopg.OperationalError):
        back_up(folder / "other.wharf", replace(installation, url=url))
    with pytest.raises(SetupError, match="exists already"):
        back_up(made, installation)

    assert list(folder.iterdir()) == [made]


def test_neither_key_nor_passphrase_is_in_the_file_in_clear(
    made: Path, vault_key: PrivateKey
) -> None:
    content = made.read_bytes()

    assert vault_key.text().encode() not in content
    assert PASSPHRASE.get_secret_value().encode() not in content
