"""The programs of PostgreSQL that copy a database: of the embedded wheel, else of the PATH."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict

from shared.errors import SetupError
from worker.local.cluster import find_program

CHUNK = 1024**2
NEWER_THAN_16 = b"SET transaction_timeout = 0;\n"
"""pg_restore writes it whatever the server is; PostgreSQL 16 and older refuse it."""

FIRST_WITH_IT = 170_000

_VARIABLES = {"dbname": "PGDATABASE", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}


def dump(url: str) -> Iterator[bytes]:
    """Yield a dump in the custom format: one snapshot of the database, taken while it is used.

    Raises:
        SetupError: there is no pg_dump, or it failed.
    """
    argv = ("--format=custom", "--no-owner", "--no-privileges", "--no-blobs")
    with tempfile.TemporaryFile() as errors:
        process = _start("pg_dump", argv, url, errors, stdin=subprocess.DEVNULL)
        try:
            output = _pipe(process.stdout)
            while chunk := output.read(CHUNK):
                yield chunk
        finally:
            _end(process)
        _require_success("pg_dump", process, errors)


def restore(
    url: str, chunks: Iterable[bytes], *, before: str, after: str, server_version: int
) -> None:
    """Run ``before``, the dump and ``after`` in one transaction: all of it, or nothing.

    Raises:
        SetupError: a program is missing or failed; the database is as it was.
    """
    argv = ("--no-owner", "--no-privileges", "--file=-")
    quiet = ("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1")
    with tempfile.TemporaryFile() as reading_errors, tempfile.TemporaryFile() as errors:
        reader = _start("pg_restore", argv, url, reading_errors, stdin=subprocess.PIPE)
        writer = _start("psql", quiet, url, errors, stdin=subprocess.PIPE)
        try:
            feeder = threading.Thread(target=_feed, args=(_pipe(reader.stdin), chunks))
            feeder.start()
            target = _pipe(writer.stdin)
            # psql that stopped at an error reads no more; its exit code and words tell why.
            with contextlib.suppress(BrokenPipeError):
                target.write(f"SET client_min_messages = warning;\nBEGIN;\n{before}\n".encode())
                _copy(_pipe(reader.stdout), target, server_version)
            _pipe(reader.stdout).close()
            feeder.join()
            if reader.wait() == 0:
                with contextlib.suppress(BrokenPipeError):
                    target.write(f"\n{after}\nCOMMIT;\n".encode())
            with contextlib.suppress(BrokenPipeError):
                target.close()  # without a COMMIT, nothing stays
            writer.wait()
        finally:
            _end(reader)
            _end(writer)
        _require_success("psql", writer, errors)
        _require_success("pg_restore", reader, reading_errors)


def _copy(source: IO[bytes], target: IO[bytes], server_version: int) -> None:
    is_first = True
    while chunk := source.read(CHUNK):
        if is_first and server_version < FIRST_WITH_IT:
            chunk = chunk.replace(NEWER_THAN_16, b"", 1)
        is_first = False
        target.write(chunk)


def _feed(target: IO[bytes], chunks: Iterable[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError), target:
        for chunk in chunks:
            target.write(chunk)


def _start(
    name: str, arguments: tuple[str, ...], url: str, errors: IO[bytes], *, stdin: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - no argument comes from outside, no shell
        (str(_find(name)), *arguments),
        env=_environment(url, own_connection=name != "pg_restore"),
        stdin=stdin,
        stdout=subprocess.PIPE if name != "psql" else subprocess.DEVNULL,
        stderr=errors,
    )


def _find(name: str) -> Path:
    try:
        return find_program(name)
    except SetupError:
        found = shutil.which(name)
    if found is None:
        raise SetupError(
            f"there is no {name} here",
            remedy="Install wharfinger[embedded], or the client programs of PostgreSQL.",
        )
    return Path(found)


def _environment(url: str, *, own_connection: bool) -> dict[str, str]:
    """Return the environment with the connection in it: arguments can be seen by other users."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith("WHARF_")}
    if not own_connection:
        return rest
    given = conninfo_to_dict(url)
    named = {
        _VARIABLES.get(name, f"PG{name.upper()}"): str(value)
        for name, value in given.items()
        if value is not None
    }
    return rest | named | {"PGCONNECT_TIMEOUT": "10"}


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # noqa: S101 - it was asked for
    return stream


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes, which ends it, and wait."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    process.kill()
    process.wait()


def _require_success(name: str, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    if process.returncode == 0:
        return
    errors.seek(0)
    lines = errors.read()[-4000:].decode(errors="replace").strip().splitlines()
    is_cause = re.compile("ERROR:|FATAL:|error:").search
    words = next((line for line in lines if is_cause(line)), "".join(lines[-1:]))
    raise SetupError(f"{name} failed: {words}" if words else f"{name} failed")
