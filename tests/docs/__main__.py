"""``make docs``: write the reference pages anew."""

import asyncio

from tests.docs.reference import DIRECTORY, make_pages

for name, text in asyncio.run(make_pages()).items():
    (DIRECTORY / name).write_text(text, encoding="utf-8")
