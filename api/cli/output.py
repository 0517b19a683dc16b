"""Print output of the commands; text of servers and people cannot steer the terminal."""

import sys


def printable(text: str) -> str:
    """One line as it is shown; tabs stay."""
    return "".join(sign if sign.isprintable() or sign == "\t" else "?" for sign in text)


def write_line(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(f"{printable(text)}\n")


def write_note(text: str) -> None:
    """One line on standard error, beside what a script reads."""
    sys.stderr.write(f"{printable(text)}\n")
