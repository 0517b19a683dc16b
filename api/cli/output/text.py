"""Print output of the commands; text from servers and users cannot control the terminal."""

import sys


def printable(text: str) -> str:
    """Replace control characters, except tabs, by question marks."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)


def write_line(text: str) -> None:
    """Write one line to standard output."""
    sys.stdout.write(f"{printable(text)}\n")


def write_note(text: str) -> None:
    """Write one line to standard error, which scripts do not read."""
    sys.stderr.write(f"{printable(text)}\n")
