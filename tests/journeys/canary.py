"""A password that nobody else has, and everything around the product where it could have leaked."""

import base64
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from worker.broker_users import ADMIN
from worker.local.postgres import OWNER, LocalPostgres
from worker.local.valkey import LocalValkey

LOOK_SECONDS = 0.02
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


def spellings(secret: str, username: str) -> set[bytes]:
    """The secret as it is, and inside base64 (RFC 4648): of Basic, and of an Engine's header."""
    clear = secret.encode()
    found = {clear, clear.hex().encode(), base64.b64encode(f"{username}:{secret}".encode())}
    for before in range(3):
        # Inside a longer text it starts at any of three places; its ends mix with what is around.
        encoded = base64.b64encode(b"-" * before + clear)
        found.add(encoded[4 if before else 0 : -4])
    return found


@dataclass
class Traffic:
    """Record the traffic of the broker and the starts of processes during the block."""

    broker: bytearray = field(default_factory=bytearray)
    command_lines: set[bytes] = field(default_factory=set)


@contextmanager
def record_traffic(valkey: LocalValkey) -> Iterator[Traffic]:
    heard, over = Traffic(), threading.Event()
    with socket.create_connection((valkey.address, valkey.port)) as line:
        line.settimeout(LOOK_SECONDS)
        line.sendall(f"AUTH {ADMIN} {valkey.passwords[ADMIN]}\r\nMONITOR\r\n".encode())

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    heard.broker += line.recv(1 << 20)

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                heard.command_lines |= command_lines()

        threads = [threading.Thread(target=run) for run in (listen, look)]
        for thread in threads:
            thread.start()
        try:
            yield heard
        finally:
            over.set()
            for thread in threads:
                thread.join()


def command_lines() -> set[bytes]:
    """How every process of this moment was started."""
    found: set[bytes] = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.add(process.read_bytes())
    return found


def broker_keys(valkey: LocalValkey) -> dict[str, bytes]:
    """Every key of the broker with its value."""
    values: dict[str, bytes] = {}
    with redis.Redis.from_url(valkey.url(ADMIN)) as client:
        for key in client.scan_iter():
            values[repr(key)] = repr(_value(client, key)).encode()
    return values


def _value(client: redis.Redis, key: bytes) -> object:
    match client.type(key):
        case b"list":
            return client.lrange(key, 0, -1)
        case b"hash":
            return client.hgetall(key)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case _:
            return client.get(key)


def tables(postgres: LocalPostgres) -> dict[str, bytes]:
    """Every row of every table as text, by the table's name."""
    with psycopg.connect(postgres.url(OWNER)) as connection:
        names = [name for (name,) in connection.execute(TABLES).fetchall()]
        return {name: _rows(connection, name) for name in names}


def _rows(connection: psycopg.Connection, name: str) -> bytes:
    query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name))
    return "\n".join(row[0] for row in connection.execute(query).fetchall()).encode()


def files(*directories: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below the directories, as it is on disk."""
    for directory in directories:
        for path in directory.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    yield str(path), path.read_bytes()


def leaks(places: Iterable[tuple[str, bytes]], secrets: set[bytes]) -> list[str]:
    """The places where one of the secrets stands."""
    return [name for name, text in places if any(secret in text for secret in secrets)]
