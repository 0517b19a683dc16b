"""Lines of text from the parts of an output, and variables of images and containers."""

import re
from collections.abc import Iterable

MAX_LINE = 64 * 1024
"""The maximum number of characters of a line; further ones are dropped. Masking of secrets needs
lines that are not cut earlier: it would miss half a secret."""

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
