"""Identifiers: lower-case UUIDv7 text (RFC 9562), made by the application, sorted by time."""

import os
import time
from uuid import UUID


def make_id() -> str:
    """Make a new id; safe in role, queue and key names."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def uuid7(milliseconds: int, entropy: bytes) -> str:
    """Make the UUIDv7 of a Unix time and ten random bytes."""
    raw = bytearray(milliseconds.to_bytes(6, "big") + entropy)
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return str(UUID(bytes=bytes(raw)))
