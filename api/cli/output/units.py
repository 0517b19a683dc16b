"""Bytes and times as people read them."""

from datetime import datetime

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def show_bytes(count: float | None) -> str:
    """Return a number of bytes in the largest unit that fits: ``1.5 GiB``."""
    if count is None:
        return "-"
    for unit in UNITS[:-1]:
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {UNITS[-1]}"


def show_seconds(seconds: float) -> str:
    """Return a duration: ``45 s``, ``3 min``, ``2 h``, ``5 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def show_time(text: str | None) -> str:
    """Return a moment of the API to the second, in this machine's time zone."""
    if not text:
        return "-"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
