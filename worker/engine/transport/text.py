"""Lines of text from the parts of an output, and variables of images and containers."""

import re
from collections import deque
from collections.abc import Iterable

MAX_LINE = 64 * 1024
"""The maximum number of characters of a line; further ones are dropped. Masking of secrets needs
lines that are not cut earlier: it would miss half a secret."""

MAX_OUTPUT_BYTES = 2 * 1024 * 1024
"""The bytes of an application's output that are read and kept."""

_FRAME_HEAD = 8
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class TextLines:
    """Split text into whole lines; a carriage return ends one too, as in progress bars."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._parts: list[str] = []
        self._kept = 0
        self._dropped = 0
        self._max = max_line

    def feed(self, text: str) -> list[str]:
        """Return the lines that ``text`` completes, without colours and without empty lines."""
        *ended, rest = text.replace("\r", "\n").split("\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines += self.finish()
        self._keep(rest)
        return lines

    def finish(self) -> list[str]:
        """Return the rest after the last line end, if any."""
        line = _CONTROLS.sub("", "".join(self._parts)).rstrip()
        if self._dropped:
            line += f" [{self._dropped} characters left out]"
        self._parts.clear()
        self._kept = self._dropped = 0
        return [line] if line else []

    def _keep(self, part: str) -> None:
        kept = part[: self._max - self._kept]
        if kept:
            self._parts.append(kept)
        self._kept += len(kept)
        self._dropped += len(part) - len(kept)


class OutputFrames:
    """The newest frames of a container's output, as far as they are kept.

    Frames have a stream and a text (Docker Engine API, "Stream format"). ``is_cut``: earlier ones
    were dropped.
    """

    def __init__(self, most_bytes: int = MAX_OUTPUT_BYTES) -> None:
        self._frames = deque[tuple[int, bytes]]()
        self._rest = b""
        self._size = 0
        self._most = most_bytes
        self.is_cut = False

    def feed(self, content: bytes) -> None:
        """Add a part of the output."""
        content, at = self._rest + content, 0
        while len(content) - at >= _FRAME_HEAD:
            end = at + _FRAME_HEAD + int.from_bytes(content[at + 4 : at + _FRAME_HEAD], "big")
            if end > len(content):
                break
            self._frames.append((content[at], content[at + _FRAME_HEAD : end]))
            self._size += end - at
            at = end
        self._rest = content[at:]
        while self._size > self._most:
            self._size -= len(self._frames.popleft()[1]) + _FRAME_HEAD
            self.is_cut = True

    def lines(self) -> list[tuple[str, str]]:
        """Return the lines in order, with the time that begins each.

        A long line has several frames, each of which begins with a time.
        """
        lines: list[tuple[str, str]] = []
        unfinished: dict[int, int] = {}
        for stream, content in self._frames:
            time, _, text = content.decode(errors="replace").partition(" ")
            at = unfinished.pop(stream, None)
            if at is None:
                at = len(lines)
                lines.append((time, text))
            else:
                lines[at] = (lines[at][0], lines[at][1] + text)
            if not text.endswith("\n"):
                unfinished[stream] = at
        return lines


def join_frames(content: bytes) -> str:
    """Join the output of a container without a terminal: each frame has an eight-byte header.

    A truncated frame is used as far as it was received (Docker Engine API, "Stream format").
    """
    parts = []
    while len(content) >= _FRAME_HEAD:
        end = _FRAME_HEAD + int.from_bytes(content[4:_FRAME_HEAD], "big")
        parts.append(content[_FRAME_HEAD:end])
        content = content[end:]
    return b"".join(parts).decode(errors="replace")


def parse_variables(lines: Iterable[str] | None) -> dict[str, str]:
    """Read variables as images and containers have them, ``NAME=value``."""
    pairs = (line.partition("=") for line in lines or ())
    return {name: value for name, _, value in pairs}
