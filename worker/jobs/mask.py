"""Secrets taken out of what a build prints, in the shapes in which programs print them."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from shared.errors import WharfError

HIDDEN = "***"
MIN_SIGNS = 4
"""Anything shorter would blank out half of every log, and hides nothing: it is soon guessed."""

MIN_ENCODED_SIGNS = 8


class Mask:
    """Knows some secrets and does not tell them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        shapes = {shape for secret in secrets for line in _lines(secret) for shape in _shapes(line)}
        longest_first = sorted(shapes, key=lambda shape: (-len(shape), shape))
        self._pattern = re.compile("|".join(re.escape(shape) for shape in longest_first))
        self._is_empty = not shapes

    def __call__(self, text: str) -> str:
        """``text`` with each secret blanked out."""
        return text if self._is_empty else self._pattern.sub(HIDDEN, text)


@contextmanager
def masking(mask: Mask) -> Iterator[None]:
    """Take the secrets out of what an error says that leaves the block."""
    try:
        yield
    except WharfError as error:
        error.message = mask(error.message)
        error.args = (error.message,)
        raise


def _lines(secret: str) -> Iterator[str]:
    """A secret of several lines, as a key is, is printed line by line."""
    lines = {secret, *secret.splitlines()}
    yield from (line.strip() for line in lines if len(line.strip()) >= MIN_SIGNS)


def _shapes(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for safe in ("", "/"):
        yield quote(secret, safe=safe)
        yield quote_plus(secret, safe=safe)
    yield from _encoded(secret.encode())


def _encoded(secret: bytes) -> Iterator[str]:
    """Its base64, alone or with anything around it: three signs stand for four, so three ways."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret).decode().rstrip("=")
        start = (0, 2, 3)[before]
        # Of the last sign some bits are the next byte's, unless the secret ends with it.
        end = len(encoded) - (0 if (before + len(secret)) % 3 == 0 else 1)
        inner = encoded[start:end]
        if len(inner) >= MIN_ENCODED_SIGNS:
            yield inner
            yield inner.translate(str.maketrans("+/", "-_"))
