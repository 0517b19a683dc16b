"""Find the base images of a Dockerfile, so that they can be pulled with the right login before.

The file is read like in BuildKit's parser, as far as necessary: parser directives, continuations,
heredocs, global arguments, stages. The builder reports errors in anything that cannot be read.
"""

import contextlib
import csv
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
HEREDOC = re.compile(r"<<(-?)\s*([\"']?)([A-Za-z_][\w.]*)\2")
_HEREDOC_END = re.compile(r"\t*[A-Za-z_][\w.]*")
_TAB = "\t"
_HEREDOC_INSTRUCTIONS = {"RUN", "COPY", "ADD"}
_FLAG = re.compile(r"(--(?:\\.|\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+'|[^\s\"'\\])*+)(?:\s++|$)")
_QUOTED = re.compile(r"\\(.)|\"((?:\\.|[^\"\\])*+)\"|'((?:\\.|[^'\\])*+)'")
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


@dataclass(frozen=True)
class Instruction:
    """An instruction and its lines, without those of a heredoc; ``rest`` follows its name."""

    name: str
    rest: str
    first_line: int
    end_line: int


@dataclass(frozen=True)
class _Use:
    """The place where a base is named by ``word``, which has its variables unexpanded."""

    base: Base
    word: str
    instruction: Instruction


@dataclass
class Parser:
    """The state of the parser; arguments are global up to the first stage."""

    build_args: Mapping[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    uses: list[_Use] = field(default_factory=list)

    def add(
        self,
        word: str,
        instruction: Instruction,
        platform: str = "",
        *,
        is_mounted: bool = False,
    ) -> None:
        image = expand(word, self.arguments) if instruction.name == "FROM" else word
        if image.lower() in {*self.stages, SCRATCH, ""}:
            return
        if instruction.name != "FROM" and image.isdigit() and not is_mounted:
            return
        try:
            reference = parse_reference(image)
        except InvalidReferenceError:
            return
        self.uses.append(_Use(Base(reference, platform), word, instruction))


def parse_bases(
    dockerfile: str,
    build_args: Mapping[str, str] | None = None,
    stage: str = "",
    *,
    triggers: bool = False,
) -> tuple[Base, ...]:
    """Return the images of ``FROM``, ``COPY --from`` and ``RUN --mount=from=``, in order.

    Own stages and ``scratch`` are not images. Stages after ``stage`` are not built, so not read.
    Those of ``ONBUILD`` are for later builds; they count with ``triggers``.
    """
    uses = _find_uses(dockerfile, build_args, stage, triggers=triggers)
    return tuple(dict.fromkeys(use.base for use in uses))


def pin_bases(
    dockerfile: str,
    pins: Mapping[Base, str],
    build_args: Mapping[str, str] | None = None,
    stage: str = "",
    *,
    triggers: bool = False,
) -> str:
    """Return the Dockerfile with these images in place of the bases; all lines keep their numbers.

    A name that is split between two lines, or that contains a quoted part, stays as it is.
    """
    if not pins:
        return dockerfile
    lines = dockerfile.removeprefix("\ufeff").split("\n")
    for use in _find_uses(dockerfile, build_args, stage, triggers=triggers):
        if pin := pins.get(use.base):
            _pin(lines, use, pin)
    return "\n".join(lines)


def _pin(lines: list[str], use: _Use, pin: str) -> None:
    at = use.instruction
    if at.name == "FROM":
        end = read_flags(at.rest)[1]
        flags, rest = at.rest[:end], at.rest[end:].removeprefix(use.word)
        lines[at.first_line : at.end_line] = [
            f"FROM {flags}{pin}{rest}",
            *[""] * (at.end_line - at.first_line - 1),
        ]
        return
    word = re.compile(rf"((?:--|[,=])[\"']?(?i:from)=[\"']?){re.escape(use.word)}(?=[\s,\"']|$)")
    for index in range(at.first_line, at.end_line):
        lines[index], count = word.subn(lambda match: f"{match[1]}{pin}", lines[index], 1)
        if count:
            return


def _find_uses(
    dockerfile: str, build_args: Mapping[str, str] | None, stage: str, *, triggers: bool
) -> tuple[_Use, ...]:
    parser = Parser(build_args or {})
    for instruction in read_instructions(dockerfile):
        name, rest = instruction.name, instruction.rest
        if len(rest) > MAX_CHARACTERS and name in {"FROM", "ARG"}:
            continue  # the builder has its own limits, and reports the error
        if name == "FROM":
            if stage and stage.lower() in _built(parser.stages):
                break
            read_from(instruction, parser)
        elif name == "ARG" and not parser.stages:
            read_arguments(rest, parser)
        elif name != "ONBUILD" or triggers:
            _read_sources(instruction, parser)
    return tuple(parser.uses)


def _built(stages: list[str]) -> set[str]:
    """Return the names of the last stage: its name and its number."""
    return {*stages, str(len(stages) - 1)} if stages else set()


def read_flags(rest: str) -> tuple[list[tuple[str, str]], int]:
    """Return the names and values of the leading flags without quotes, and where they end."""
    found, at = list[tuple[str, str]](), 0
    while flag := _FLAG.match(rest, at):
        name, _, value = _QUOTED.sub(_without_quotes, flag[1])[2:].partition("=")
        found.append((name, value))
        at = flag.end()
    return found, at


def _without_quotes(match: re.Match[str]) -> str:
    escaped, double, single = match.groups()
    return escaped if escaped is not None else re.sub(r"\\(.)", r"\1", double or single or "")


def read_mount_sources(mount: str) -> list[str]:
    """Return the values of ``from`` in a mount, which is one line of CSV.

    Raises:
        csv.Error: it is none.
    """
    fields = next(csv.reader([mount], strict=True), [])
    pairs = [one.partition("=") for one in fields]
    return [value for key, _, value in pairs if key.strip().lower() == "from"]


def read_trigger(rest: str) -> tuple[str, str]:
    """Return the instruction that ``ONBUILD`` contains, and what follows its name."""
    name, rest = [*rest.split(None, 1), "", ""][:2]
    return name.upper(), rest


def read_from(instruction: Instruction, parser: Parser) -> None:
    """Read ``[--platform=P] IMAGE [AS NAME]``."""
    platform = ""
    flags, at = read_flags(instruction.rest)
    for name, value in flags:
        if name == "platform":
            platform = expand(value, parser.arguments)
    words = instruction.rest[at:].split()
    if words:
        parser.add(words[0], instruction, platform)
    is_named = len(words) == 3 and words[1].lower() == "as"
    parser.stages.append(words[2].lower() if is_named else "")


def read_arguments(rest: str, parser: Parser) -> None:
    """Read ``NAME[=DEFAULT] …``; an argument of the build overrides a default."""
    for match in _ASSIGNMENT.finditer(rest):
        name, default = match[1], match[2]
        if name in parser.build_args:
            parser.arguments[name] = parser.build_args[name]
        elif default is not None:
            parser.arguments[name] = expand(default, parser.arguments)


def _read_sources(instruction: Instruction, parser: Parser) -> None:
    name, rest = instruction.name, instruction.rest
    if name == "ONBUILD":
        name, rest = read_trigger(rest)
    for flag, value in read_flags(rest)[0]:
        if name == "COPY" and flag == "from":
            parser.add(value, instruction)
        elif name == "RUN" and flag == "mount":
            with contextlib.suppress(csv.Error):
                for source in read_mount_sources(value):
                    parser.add(source, instruction, is_mounted=True)


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


def read_instructions(dockerfile: str) -> Iterator[Instruction]:
    """Yield each instruction, with its lines joined and without heredocs."""
    text = dockerfile.removeprefix("\ufeff")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    continued = re.compile(rf"{re.escape(read_escape(lines))}[ \t]*$")
    ends = _find_ends(lines)
    at, first, parts = 0, 0, list[str]()
    while at < len(lines):
        line, at = lines[at], at + 1
        if line.lstrip().startswith("#") or not line.strip():
            if at < len(lines) or not parts:
                continue  # a continued instruction may end with the file
        else:
            first = first if parts else at - 1
            parts.append(continued.sub("", line))
            if continued.search(line) and at < len(lines):
                continue
        name, rest = [*"".join(parts).split(None, 1), "", ""][:2]
        parts.clear()
        end_line = at
        if name.upper() in _HEREDOC_INSTRUCTIONS:
            at = _skip_heredocs(ends, at, rest)
        yield Instruction(name.upper(), rest, first, end_line)


def read_escape(lines: list[str]) -> str:
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
    for dash, _, name in HEREDOC.findall(rest):
        known = ends.get(f"{dash}{name}", [])
        index = bisect_left(known, at)
        if index < len(known):
            at = known[index] + 1
    return at
