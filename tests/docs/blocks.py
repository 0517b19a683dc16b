"""The fenced blocks of the README and the pages, and what they mean to the tests.

* ``sh`` is run, each block by a shell of its own in one directory.
* ``json`` or ``text`` after it is its answer, shortened: every member and every line that is shown
  has to be there. ``…`` stands for any text. ``NAME_ID`` in an answer is the id that later blocks
  mean by that word.
* A language with a name, as ``dockerfile my-app/Dockerfile``, is a file that is written there.
* ``sql`` is run by the owner of the database.
* Anything else is only shown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from api.docs.contents import read_pages

README = Path(__file__).parent.parent.parent / "README.md"
ANSWERS = ("json", "text")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``answer`` is the one that follows it, if that is an answer."""

    place: str
    language: str
    name: str
    text: str
    answer: "Block | None" = None

    @property
    def is_answer(self) -> bool:
        return self.language in ANSWERS and not self.name

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each in one line and without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (re.sub(r"\s+# .*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def documents() -> dict[str, str]:
    """The README and all pages by name, in the order in which they are read."""
    pages = {f"api/docs/{path}.md": page.text for path, page in read_pages().items()}
    return {"README.md": README.read_text(), **pages}


def read_blocks(name: str, text: str) -> Iterator[Block]:
    """The blocks of one document in their order, answers with what they answer."""
    waiting: Block | None = None
    for block in _fences(name, text):
        if waiting is not None and waiting.language == "sh" and block.is_answer:
            yield Block(waiting.place, "sh", "", waiting.text, block)
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = block
    if waiting is not None:
        yield waiting


def _fences(name: str, text: str) -> Iterator[Block]:
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence":
            language, _, file = token.info.strip().partition(" ")
            line = (token.map or [0])[0] + 1
            yield Block(f"{name}:{line}", language, file.strip(), token.content)
