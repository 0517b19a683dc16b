"""Texts of others, without what would steer a terminal or hide what stands there."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""C0 but tab and line feed, DEL, C1, what turns the direction; as plain_text of documents.sql."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""A colour or a move of the cursor, a title of the window (ECMA-48, 5.4 and 8.3.89)."""


def plain_text(text: str) -> str:
    """The same with U+FFFD in place of each control character; lines end with a line feed."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def uncoloured(text: str) -> str:
    """The same without colours and the like: do it before secrets are looked for."""
    return _SEQUENCE.sub("", text)
