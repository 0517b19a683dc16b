"""Find what in a Dockerfile a builder may read otherwise than we do.

Where a policy decides from which bases a build may be, only a Dockerfile counts that has one
reading. So this accepts the plain forms and doubts all others, also some that a builder would
refuse itself.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from shared.errors import InvalidReferenceError
from shared.reference import parse_reference
from worker.builds.sources.dockerfile import (
    HEREDOC,
    MAX_CHARACTERS,
    SCRATCH,
    Instruction,
    Parser,
    expand,
    read_arguments,
    read_escape,
    read_flags,
    read_from,
    read_instructions,
    read_mount_sources,
    read_trigger,
)

SYNTAX_ARGUMENT = "BUILDKIT_SYNTAX"
"""The build argument by which BuildKit lets another image read the Dockerfile."""

MAX_DOUBTS = 5

_SYNTAX = re.compile(r"\s*(?:#|//)\s*syntax\s*=\s*(\S*)", re.IGNORECASE)
_ESCAPE = re.compile(r"\s*#\s*escape\s*=", re.IGNORECASE)
_PLAIN_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*[\\`][ \t]*", re.IGNORECASE)
_STRANGE_SPACE = re.compile(r"[^\S \t]")
_ASCII = re.compile(r"[\t -~]*")
_STAGE = re.compile(r"[a-z][a-z0-9_.-]*", re.IGNORECASE)
_VALUE = r"(?:\"[^\"\\`]*+\"|'[^'\\`$]*+'|[^\s\"'\\`]*+)"
_ARGUMENTS = re.compile(rf"([A-Za-z_]\w*+(?:={_VALUE})?(?:[ \t]++|$))++", re.ASCII)
_NAMES = re.compile(r"(?<!\S)([A-Za-z_]\w*+)(?==|\s|$)", re.ASCII)
_VARIABLE = re.compile(
    r"\$(?:([A-Za-z_]\w*+)|\{([A-Za-z_]\w*+)(?::[-+][^${}'\"\\`]{0,256}+)?\})", re.ASCII
)
_PLATFORM_ARGUMENT = re.compile(r"(?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT|STAGE)")
_WITH_HEREDOC = re.compile(
    r"(?:(?<!\S)\d*+<<-?(?:[A-Za-z_][\w.]*+|'[A-Za-z_][\w.]*+'|\"[A-Za-z_][\w.]*+\")(?!\S)"
    r"|[^'\"\\$<]|'[^'<]*+'"
    r"|\"(?:[^\"\\$<]|\$\w++|\$\{\w++\})*+\"|\$\w++|\$\{\w++\}|<(?!<))*+",
    re.ASCII,
)
_STEPS = frozenset({"RUN", "COPY", "ADD"})
_INSTRUCTIONS = frozenset(
    [
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ]
)


def find_syntaxes(dockerfile: str, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that read the Dockerfile instead of the builder, as they are written."""
    lines = dockerfile.removeprefix("\ufeff").split("\n")
    found = [match[1] for line in lines if (match := _SYNTAX.match(line))]
    found += build_args.get(SYNTAX_ARGUMENT, "").split()[:1]
    return tuple(dict.fromkeys(found))


def find_doubts(dockerfile: str, build_args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first places that have more than one reading: line, reason, what to write."""
    return tuple(islice(_Reading(dockerfile, Parser(build_args)).find(), MAX_DOUBTS))


@dataclass
class _Reading:
    """The state of one reading.

    ``hidden`` are the lines of heredocs; ``images`` are names that were taken for those of images.
    """

    text: str
    parser: Parser
    declared: set[str] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)
    images: set[str] = field(default_factory=set)

    def find(self) -> Iterator[str]:
        lines = [line.removesuffix("\r") for line in self.text.removeprefix("\ufeff").split("\n")]
        if self.text.removeprefix("\ufeff").lstrip().startswith("{"):
            yield "line 1: it begins like JSON; begin with an instruction"
        for instruction in read_instructions(self.text):
            for doubt in self._doubt(instruction, lines):
                yield f"line {instruction.first_line + 1}: {doubt}"
        yield from self._doubt_lines(lines)

    def _doubt_lines(self, lines: list[str]) -> Iterator[str]:
        escape = re.escape(read_escape(lines))
        doubled = re.compile(rf"{escape}{escape}[ \t]*$")
        for index, line in enumerate(lines):
            doubt = ""
            is_comment = line.lstrip(" \t").startswith("#")
            is_hidden = index in self.hidden
            if _ESCAPE.match(line) and not is_hidden:
                is_first = index == 0 or (index == 1 and _SYNTAX.match(lines[0]) is not None)
                if not (is_first and _PLAIN_ESCAPE.fullmatch(line)):
                    doubt = "an escape directive counts only as # escape=\\ in the first line"
            elif "\r" in line or (not is_hidden and not is_comment and _STRANGE_SPACE.search(line)):
                doubt = "it contains white space other than spaces and tabs; remove it"
            elif doubled.search(line) and not is_hidden and not is_comment:
                doubt = "two escape characters end it; write one to continue, or another text"
            if doubt:
                yield f"line {index + 1}: {doubt}"

    def _doubt(self, instruction: Instruction, lines: list[str]) -> Iterator[str]:
        name, rest = instruction.name, instruction.rest
        if name in {"FROM", "ARG"} and len(rest) > MAX_CHARACTERS:
            yield f"{name} has more than {MAX_CHARACTERS} characters; shorten it"
        elif name == "FROM":
            yield from self._doubt_from(instruction)
        elif name == "ARG" and not self.parser.stages:
            yield from self._doubt_arguments(rest)
        elif name in _STEPS:
            if "<<" in rest:
                yield from self._doubt_heredocs(instruction, lines)
            yield from self._doubt_flags(name, rest)
        elif name == "ONBUILD":
            name, rest = read_trigger(rest)
            if name in {"FROM", "ONBUILD"} or "<<" in rest or name.startswith("--"):
                yield "ONBUILD contains FROM, ONBUILD, a flag or a heredoc; write a plain step"
            yield from self._doubt_flags(name, rest)

    def _doubt_from(self, instruction: Instruction) -> Iterator[str]:
        flags, end = read_flags(instruction.rest)
        words = instruction.rest[end:].split()
        stages = tuple(self.parser.stages)
        read_from(instruction, self.parser)
        is_plain = _ASCII.fullmatch(instruction.rest) and not re.search(
            r"[\"'\\`]", instruction.rest
        )
        is_named = len(words) == 3 and words[1].lower() == "as" and _STAGE.fullmatch(words[2])
        if not is_plain or any(name != "platform" for name, _ in flags):
            yield "write FROM [--platform=…] IMAGE [AS NAME] without quotes and escapes"
            return
        if words[0:1] == [] or words[0].startswith("-") or not (len(words) == 1 or is_named):
            yield "write FROM [--platform=…] IMAGE [AS NAME]"
            return
        yield from self._doubt_variables(words[0])
        yield from self._doubt_image(expand(words[0], self.parser.arguments), stages)
        if is_named and words[2].lower() in {*stages, *self.images, SCRATCH}:
            yield f"the stage {words[2]!r} is named or used before; give it another name"

    def _doubt_arguments(self, rest: str) -> Iterator[str]:
        text = rest.rstrip()
        if not _ASCII.fullmatch(text) or not _ARGUMENTS.fullmatch(text):
            yield 'write ARG NAME=value or ARG NAME="value" before the first FROM, without escapes'
        elif "$" in text and text.count("=") > 1:
            yield "write one ARG for each variable"
        else:
            yield from self._doubt_variables(text)
        read_arguments(rest, self.parser)
        self.declared.update(match[1] for match in _NAMES.finditer(rest))
        if any(len(value) >= MAX_CHARACTERS for value in self.parser.arguments.values()):
            yield f"a variable has {MAX_CHARACTERS} characters or more; shorten it"

    def _doubt_variables(self, text: str) -> Iterator[str]:
        if "$" in _VARIABLE.sub("", text):
            yield "write variables as $A, ${A}, ${A:-text} or ${A:+text}, with plain text in it"
        for match in _VARIABLE.finditer(text):
            name = match[1] or match[2]
            if name not in self.declared or _PLATFORM_ARGUMENT.fullmatch(name):
                yield f"${name} is not known here; declare it by ARG before, or write its value"

    def _doubt_flags(self, name: str, rest: str) -> Iterator[str]:
        flags, end = read_flags(rest)
        if rest[end:].startswith("--") or ("", "") in flags:
            yield "its flags cannot be read; close their quotes"
        if not _ASCII.fullmatch(rest[:end]) or "\\" in rest[:end]:
            yield "write its flags in ASCII without escapes"
        for flag, value in flags:
            if name == "COPY" and flag == "from":
                if not value.isdecimal():
                    yield from self._doubt_source(value)
                elif int(value[:9]) >= len(self.parser.stages):
                    yield f"there is no stage {value} before; copy from an earlier one"
            elif name == "RUN" and flag == "mount":
                try:
                    sources = read_mount_sources(value)
                except csv.Error:
                    yield "its mount is no line of CSV; write --mount=type=bind,from=IMAGE,…"
                    continue
                for source in sources:
                    yield from self._doubt_source(source)

    def _doubt_source(self, word: str) -> Iterator[str]:
        if word.lower() not in self.parser.stages:
            self.images.add(word.lower())
        yield from self._doubt_image(word, tuple(self.parser.stages))

    def _doubt_image(self, image: str, stages: tuple[str, ...]) -> Iterator[str]:
        if image == SCRATCH or (image and image.lower() in stages):
            return
        try:
            parse_reference(image)
        except InvalidReferenceError as error:
            yield f"{image[:100]!r} is no image: {error.message}"

    def _doubt_heredocs(self, instruction: Instruction, lines: list[str]) -> Iterator[str]:
        if not _WITH_HEREDOC.fullmatch(instruction.rest):
            yield (
                "write a heredoc as <<NAME, <<-NAME or <<'NAME' between spaces, and no other << "
                "or escape in its step"
            )
            return
        at = instruction.end_line
        for dash, _, name in HEREDOC.findall(instruction.rest):
            last = ""
            for index in range(at, len(lines)):
                line = lines[index].lstrip("\t") if dash else lines[index]
                self.hidden.add(index)
                if line == name:
                    at = index + 1
                    break
                last = lines[index] if line.strip() and line.lstrip()[0] != "#" else last
            else:
                yield f"the heredoc {name} has no end line"
                return
            if name.upper() in _INSTRUCTIONS or last.rstrip(" \t").endswith(("\\", "`")):
                yield (
                    f"the heredoc {name} has the name of an instruction, or an escape character "
                    "before its end line; change it"
                )
