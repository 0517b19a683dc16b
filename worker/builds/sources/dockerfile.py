"""Find the base images of a Dockerfile, so that they can be pulled with the right login before.

The file is read like in BuildKit's parser, as far as necessary: parser directives, continuations,
heredocs, global arguments, stages. The builder reports errors in anything that cannot be read.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from shared.errors import InvalidReferenceError
from shared.reference import Reference, parse_reference

SCRATCH = "scratch"
MAX_CHARACTERS = 8 * 1024
"""The limit of an instruction and of a variable; a reference has some hundred characters."""

_DIRECTIVE = re.compile(r"#\s*([a-z]+)\s*=\s*(\S+)\s*", re.IGNORECASE)
_HEREDOC = re.compile(r"<<(-?)\s*([\"']?)([A-Za-z_][\w.]*)\2")
_HEREDOC_END = re.compile(r"\t*[A-Za-z_][\w.]*")
_TAB = "\t"
_HEREDOC_INSTRUCTIONS = {"RUN", "COPY", "ADD"}
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?\s+")
_MOUNT_FROM = re.compile(r"(?:^|,)from=([^,]+)")
_ASSIGNMENT = re.compile(
    r"(?<!\S)(\w++)(?:=((?:\"(?:\\.|[^\"\\])*\"|'[^']*'|\\.|[^\s\"'\\])*))?(?=\s|$)"
)
_WORD = re.compile(
    r"'([^']*)'|\\(.)|\$(?:(\w+)|\{(\w+)(?::?([-+?])([^}]{0,256}+))?\})|([^'\\$\"]+|.)"
)


@dataclass(frozen=True)
class Base:
    """An image that a build needs; ``platform`` is empty for the platform of the build."""

    reference: Reference
    platform: str = ""


@dataclass
class _Parser:
    """The state of the parser; arguments are global up to the first stage."""

    build_args: Mapping[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    bases: dict[Base, None] = field(default_factory=dict)

    def add(self, image: str, platform: str = "") -> None:
        if image.lower() in {*self.stages, SCRATCH, ""} or image.isdigit():
            return
        try:
            reference = parse_reference(image)
        except InvalidReferenceError:
            return
        self.bases[Base(reference, platform)] = None


def parse_bases(
    dockerfile: str, build_args: Mapping[str, str] | None = None, stage: str = ""
) -> tuple[Base, ...]:
    """Return the images of ``FROM``, ``COPY --from`` and ``RUN --mount=from=``, in order.

    Own stages and ``scratch`` are not images. Stages after ``stage`` are not built, so not read.
    """
    parser = _Parser(build_args or {})
    for name, rest in _instructions(dockerfile):
        if len(rest) > MAX_CHARACTERS and name in {"FROM", "ARG"}:
            continue  # the builder has its own limits, and reports the error
        if name == "FROM":
            if stage and stage.lower() in _built(parser.stages):
                break
            _read_from(rest, parser)
        elif name == "ARG" and not parser.stages:
            _read_arguments(rest, parser)
        else:
            _read_flags(name, rest, parser)
    return tuple(parser.bases)


def _built(stages: list[str]) -> set[str]:
    """Return the names of the last stage: its name and its number."""
    return {*stages, str(len(stages) - 1)} if stages else set()


def _read_from(rest: str, parser: _Parser) -> None:
    """Read ``[--platform=P] IMAGE [AS NAME]``."""
    platform = ""
    while flag := _FLAG.match(rest):
        if flag[1] == "platform":
            platform = expand(flag[2] or "", parser.arguments)
        rest = rest[flag.end() :]
    words = rest.split()
    if words:
        parser.add(expand(words[0], parser.arguments), platform)
    is_named = len(words) == 3 and words[1].lower() == "as"
    parser.stages.append(words[2].lower() if is_named else "")


def _read_arguments(rest: str, parser: _Parser) -> None:
    """Read ``NAME[=DEFAULT] …``; an argument of the build overrides a default."""
    for match in _ASSIGNMENT.finditer(rest):
        name, default = match[1], match[2]
        if name in parser.build_args:
            parser.arguments[name] = parser.build_args[name]
        elif default is not None:
            parser.arguments[name] = expand(default, parser.arguments)


def _read_flags(name: str, rest: str, parser: _Parser) -> None:
    at = 0
    while flag := _FLAG.match(rest, at):
        if name == "COPY" and flag[1] == "from":
            parser.add(flag[2] or "")
        elif name == "RUN" and flag[1] == "mount" and (source := _MOUNT_FROM.search(flag[2] or "")):
            parser.add(source[1])
        at = flag.end()


def expand(text: str, arguments: Mapping[str, str]) -> str:
    """Return ``text`` with its variables expanded and its quotes and backslashes removed.

    The forms are ``$A`` ``${A}`` ``${A:-other}`` ``${A:+other}``; unknown variables are empty.
    Variables that name one another can grow without limit, so a long text is cut.
    """
    found, size = [], 0
    for match in _WORD.finditer(text):
        found.append(_expanded(match, arguments))
        size += len(found[-1])
        if size > MAX_CHARACTERS:
            break
    return "".join(found)[:MAX_CHARACTERS]


def _expanded(match: re.Match[str], arguments: Mapping[str, str]) -> str:
    quoted, escaped, bare, braced, operator, other, plain = match.groups()
    if quoted is not None or escaped is not None:
        return quoted if quoted is not None else escaped
    if plain is not None:
        return "" if plain == '"' else plain
    value = arguments.get(bare or braced, "")
    match operator:
        case "-":
            return value or expand(other, arguments)
        case "+":
            return expand(other, arguments) if value else ""
        case _:
            return value


def _instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the rest of each instruction, with lines joined and without heredocs."""
    lines = dockerfile.removeprefix("\ufeff").splitlines()
    continued = re.compile(rf"{re.escape(_escape(lines))}[ \t]*$")
    ends = _find_ends(lines)
    at, parts = 0, list[str]()
    while at < len(lines):
        line, at = lines[at], at + 1
        if line.lstrip().startswith("#") or not line.strip():
            continue
        parts.append(continued.sub("", line))
        if continued.search(line) and at < len(lines):
            continue
        name, rest = [*"".join(parts).split(None, 1), "", ""][:2]
        parts.clear()
        if name.upper() in _HEREDOC_INSTRUCTIONS:
            at = _skip_heredocs(ends, at, rest)
        yield name.upper(), rest


def _escape(lines: list[str]) -> str:
    """Return the character of the directive ``# escape=``; directives come first or not at all."""
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape" and directive[2] in {"\\", "`"}:
            return directive[2]
    return "\\"


def _find_ends(lines: list[str]) -> dict[str, list[int]]:
    """Return the indexes of the lines that may end a heredoc, with and without leading tabs."""
    found: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        if _HEREDOC_END.fullmatch(line):
            for text in {line, f"-{line.lstrip(_TAB)}"}:
                found.setdefault(text, []).append(index)
    return found


def _skip_heredocs(ends: dict[str, list[int]], at: int, rest: str) -> int:
    """Return the index after the heredocs; one without an end line is no heredoc."""
    for dash, _, name in _HEREDOC.findall(rest):
        known = ends.get(f"{dash}{name}", [])
        index = bisect_left(known, at)
        if index < len(known):
            at = known[index] + 1
    return at
