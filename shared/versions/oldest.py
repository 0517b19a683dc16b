"""The oldest supported PostgreSQL, Redis, Valkey and Docker Engine; older ones are refused."""

from collections.abc import Mapping

from psycopg import AsyncConnection, Connection

from shared.errors import SetupError

OLDEST_POSTGRES = 15
"""``GRANT SET ON PARAMETER`` and safe privileges of schema ``public`` need PostgreSQL 15."""

OLDEST_ENGINE_API = "1.41"
"""The API of Docker Engine 20.10."""

OLDEST_BROKER = {"redis": (7, 2), "valkey": (7, 2)}
"""Redis 7.0 does not know ``client|setinfo`` in ACL rules, so users could not be created."""


def require_postgres(connection: Connection[object] | AsyncConnection[object]) -> None:
    """Raise `SetupError` if the connected PostgreSQL is older than the oldest supported one."""
    require_postgres_version(connection.info.server_version)


def require_postgres_version(version: int) -> None:
    """Raise `SetupError` for a too old ``server_version_num``: ``140011`` is 14.11."""
    major, minor = divmod(version, 10_000)
    if major < OLDEST_POSTGRES:
        raise SetupError(
            f"PostgreSQL {major}.{minor} is too old",
            remedy=f"Use PostgreSQL {OLDEST_POSTGRES} or newer.",
        )


def is_older(version: str, than: str) -> bool:
    """Compare two dotted versions; one that is not numeric is older than every other."""
    return _numbers(version) < _numbers(than)


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def parse_hello(answer: object) -> Mapping[str, str]:
    """Parse a broker's answer to ``HELLO 2``: alternating names and values, as bytes or text.

    ``[b"server", b"redis", b"version", b"7.0.15", …]`` → ``{"server": "redis", …}``
    """
    if isinstance(answer, Mapping):
        items = [part for pair in answer.items() for part in pair]
    else:
        items = list(answer) if isinstance(answer, list | tuple) else []
    texts = [
        item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in items
    ]
    return dict(zip(texts[::2], texts[1::2], strict=False))


def require_broker_version(hello: Mapping[str, str]) -> None:
    """Raise `SetupError` if the broker is older than the oldest supported one.

    An answer without a known name and version is accepted: it may be a compatible server.
    """
    server, version = hello.get("server", ""), hello.get("version", "")
    oldest = OLDEST_BROKER.get(server)
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if oldest is None or len(numbers) < len(oldest) or numbers >= oldest:
        return
    raise SetupError(
        f"the broker is {server.capitalize()} {version}, which is too old",
        remedy="Use Redis 7.2 or newer, or Valkey.",
    )
