"""Docstrings of the generated modules."""

import textwrap
from collections.abc import Mapping

WIDTH = 100


def docstring(text: str, arguments: Mapping[str, str] = {}, *, indent: str = "    ") -> str:
    """Return the docstring of a text in Markdown, with a section for the arguments."""
    paragraphs = [
        textwrap.fill(part, WIDTH - len(indent) - 4, break_on_hyphens=False)
        for part in text.strip().split("\n\n")
    ]
    if arguments:
        lines = [
            textwrap.fill(
                f"{name}: {said}",
                WIDTH - len(indent),
                initial_indent="    ",
                subsequent_indent="        ",
                break_on_hyphens=False,
            )
            for name, said in arguments.items()
        ]
        paragraphs.append("\n".join(["Args:", *lines]))
    body = "\n\n".join(paragraphs)
    quote = 'r"""' if "\\" in body else '"""'
    end = '\n"""' if "\n" in body else '"""'
    return textwrap.indent(f"{quote}{body}{end}", indent)
