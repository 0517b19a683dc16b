"""Lines of text out of the pieces in which a build's output comes."""

import re

MAX_LINE = 64 * 1024
"""More signs of one line are dropped. Whoever masks secrets needs lines that are not cut earlier:
half a secret would go unnoticed."""

_FRAME_HEAD = 8
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


class TextLines:
    """Whole lines; a carriage return ends one too, as progress bars are drawn with it."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._parts: list[str] = []
        self._kept = 0
        self._dropped = 0
        self._max = max_line

    def feed(self, text: str) -> list[str]:
        """The lines that ``text`` completes, without colours, and without empty ones."""
        *ended, rest = text.replace("\r", "\n").split("\n")
        lines = []
        for piece in ended:
            self._keep(piece)
            lines += self.finish()
        self._keep(rest)
        return lines

    def finish(self) -> list[str]:
        """What stood behind the last line end, if anything did."""
        line = _CONTROLS.sub("", "".join(self._parts)).rstrip()
        if self._dropped:
            line += f" [{self._dropped} signs left out]"
        self._parts.clear()
        self._kept = self._dropped = 0
        return [line] if line else []

    def _keep(self, piece: str) -> None:
        kept = piece[: self._max - self._kept]
        if kept:
            self._parts.append(kept)
        self._kept += len(kept)
        self._dropped += len(piece) - len(kept)


def join_frames(content: bytes) -> str:
    """What a container without a terminal printed: eight bytes before each piece say its length.

    A piece that is cut is taken as far as it came (Docker Engine API, "Stream format").
    """
    pieces = []
    while len(content) >= _FRAME_HEAD:
        end = _FRAME_HEAD + int.from_bytes(content[4:_FRAME_HEAD], "big")
        pieces.append(content[_FRAME_HEAD:end])
        content = content[end:]
    return b"".join(pieces).decode(errors="replace")
