"""Record every packet of a server's cable, and put TCP streams together from them."""

import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ALL_PROTOCOLS = 0x0003
IPV4, TCP = 0x0800, 6
SO_RCVBUFFORCE = 33
"""Of asm-generic/socket.h; Python has no name for it."""

BUFFER_BYTES = 64 * 1024 * 1024
LOOK_SECONDS = 0.1
RECORDS = range(20, 24)
"""The types of TLS records (RFC 8446, section 5.1)."""

SSL_REQUEST = struct.pack("!II", 8, 80877103)

Flow = tuple[str, int, str, int]
"""Source and port, destination and port."""


@dataclass
class Capture:
    """The payloads of the TCP segments that a cable carried, by flow and sequence number."""

    segments: dict[Flow, dict[int, bytes]] = field(default_factory=lambda: defaultdict(dict))
    packets: int = 0

    def add(self, frame: bytes) -> None:
        self.packets += 1
        if struct.unpack_from("!H", frame, 12)[0] != IPV4 or frame[23] != TCP:
            return
        header = 14 + (frame[14] & 15) * 4
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
        source, target, number = struct.unpack_from("!HHI", frame, header)
        payload = frame[header + (frame[header + 12] >> 4) * 4 : end]
        if payload:
            sender, receiver = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
            self.segments[sender, source, receiver, target].setdefault(number, payload)

    def streams(self, address: str) -> dict[int, list[bytes]]:
        """Return what was sent to and from each port at ``address``, one text a flow."""
        found: dict[int, list[bytes]] = defaultdict(list)
        for (sender, source, receiver, target), parts in list(self.segments.items()):
            if address == receiver:
                found[target].append(_join(parts))
            elif address == sender:
                found[source].append(_join(parts))
        return found


@contextmanager
def capturing(device: str) -> Iterator[Capture]:
    """Record what passes ``device`` in both directions while the block runs."""
    capture, over = Capture(), threading.Event()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as raw:
        raw.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        raw.bind((device, ALL_PROTOCOLS))
        raw.settimeout(LOOK_SECONDS)

        def record() -> None:
            while not over.is_set():
                try:
                    capture.add(raw.recv(1 << 17))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=record)
        thread.start()
        try:
            yield capture
        finally:
            over.set()
            thread.join()


def is_tls(stream: bytes) -> bool:
    """Return whether a stream is records of TLS from its beginning to its last whole record.

    PostgreSQL's request for TLS, and its answer of one byte, may come before.
    """
    rest = stream.removeprefix(SSL_REQUEST)
    if rest[:1] == b"S":
        rest = rest[1:]
    place = 0
    while place + 5 <= len(rest):
        kind, major, _, length = struct.unpack_from("!BBBH", rest, place)
        if kind not in RECORDS or major != 3:
            return False
        place += 5 + length
    return place > 0 or not rest


def _join(parts: dict[int, bytes]) -> bytes:
    """Put the segments in order; repeated ones count once."""
    first = min(parts, key=lambda number: (number - next(iter(parts)) + 2**31) % 2**32)
    stream = bytearray()
    for number in sorted(parts, key=lambda one: (one - first) % 2**32):
        place = (number - first) % 2**32
        # What was sent again may overlap with what was seen.
        stream[place : place + len(parts[number])] = parts[number]
    return bytes(stream)
