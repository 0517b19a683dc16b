"""Mask secrets in logs and errors of jobs, in all encodings in which programs print them."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from shared.errors import WharfError

HIDDEN = "***"
MIN_CHARACTERS = 4
"""A shorter secret is easily guessed, and masking it would blank out half of every log."""

MIN_ENCODED_CHARACTERS = 8


class Mask:
    """A function that replaces the given secrets in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        shapes = {shape for secret in secrets for line in _lines(secret) for shape in _shapes(line)}
        longest_first = sorted(shapes, key=lambda shape: (-len(shape), shape))
        self._pattern = re.compile("|".join(re.escape(shape) for shape in longest_first))
        self._is_empty = not shapes

    def __call__(self, text: str) -> str:
        """Return ``text`` with each secret replaced by `HIDDEN`."""
        return text if self._is_empty else self._pattern.sub(HIDDEN, text)


@contextmanager
def masking(mask: Mask) -> Iterator[None]:
    """Mask the secrets in the message of an error that leaves the block."""
    try:
        yield
    except WharfError as error:
        error.message = mask(error.message)
        error.args = (error.message,)
        raise


def _lines(secret: str) -> Iterator[str]:
    """Return the whole secret and its lines: a key of several lines is printed line by line."""
    lines = {secret, *secret.splitlines()}
    yield from (line.strip() for line in lines if len(line.strip()) >= MIN_CHARACTERS)


def _shapes(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for safe in ("", "/"):
        yield quote(secret, safe=safe)
        yield quote_plus(secret, safe=safe)
    yield from _encoded(secret.encode())


def _encoded(secret: bytes) -> Iterator[str]:
    """Return its base64 in the three alignments that it can have within a longer text."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).decode().rstrip("=")
        start = (0, 2, 3)[before]
        # Some bits of the last character belong to the next byte unless the secret ends there.
        end = len(encoded) - (0 if (before + len(secret)) % 3 == 0 else 1)
        inner = encoded[start:end]
        if len(inner) >= MIN_ENCODED_CHARACTERS:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))
