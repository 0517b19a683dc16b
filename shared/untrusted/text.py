"""Remove control characters from untrusted text, which could control a terminal or hide text."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 except tab and line feed, DEL, C1, direction marks; as plain_text in documents.sql."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Colours, cursor movements and window titles (ECMA-48, 5.4 and 8.3.89)."""


def plain_text(text: str) -> str:
    """Replace each control character by U+FFFD; lines end with a line feed."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def uncoloured(text: str) -> str:
    """Remove colours and other escape sequences; do it before masking secrets."""
    return _SEQUENCE.sub("", text)
