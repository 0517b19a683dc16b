"""Parse YAML to nodes with their positions, so that one can be changed without the rest.

Nodes are made from libyaml's events: no objects are constructed, an alias has its own position, its
target remains one node, and too deep nesting is refused at once.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import yaml
from yaml.resolver import Resolver

from shared.errors import InvalidComposeError

MAX_DEPTH = 64
"""libyaml 0.2.5 needs minutes for 250,000 nested brackets; compose files have about ten levels."""

BYTE_ORDER_MARK = "\ufeff"
TEXT_TAG = "tag:yaml.org,2002:str"

_LINE = "[^\r\n\x85\u2028\u2029]*"
_PROPERTIES = re.compile(rf"(?:[&!]\S*\s+(?:#{_LINE}\s+)*)*")
_BLOCK_HEADER = re.compile(rf"[|>]{_LINE}")


@dataclass(frozen=True, eq=False)
class Span:
    """The position of a node in the text, with its anchor and tag."""

    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Scalar:
    """A scalar; ``tag`` is the explicit one; without it a plain scalar may have another type."""

    span: Span
    value: str
    tag: str | None
    is_plain: bool

    @property
    def is_text(self) -> bool:
        if self.tag is None and self.is_plain:
            implicit = (True, False)
            tag = Resolver().resolve(yaml.ScalarNode, self.value, implicit)  # type: ignore[no-untyped-call]
            return bool(tag == TEXT_TAG)
        return self.tag in {None, TEXT_TAG}


@dataclass(frozen=True, eq=False)
class Sequence:
    items: tuple["Node", ...]


@dataclass(frozen=True, eq=False)
class Mapping:
    pairs: tuple[tuple["Node", "Node"], ...]

    def get(self, key: str) -> "Node | None":
        """Return the value of ``key``.

        Raises:
            InvalidComposeError: the key occurs twice; parsers differ in which one counts.
        """
        found = self._values.get(key, [])
        if len(found) > 1:
            raise InvalidComposeError(f"a mapping has the key {key} twice")
        return found[0] if found else None

    @cached_property
    def _values(self) -> dict[str, list["Node"]]:
        values: dict[str, list[Node]] = {}
        for key, value in self.pairs:
            if (name := scalar_value(key)) is not None:
                values.setdefault(name, []).append(value)
        return values


@dataclass(frozen=True, eq=False)
class Alias:
    span: Span
    target: "Scalar | Sequence | Mapping"


Node = Scalar | Sequence | Mapping | Alias


@dataclass(frozen=True)
class Document:
    """The one document of a text, and all its aliases."""

    root: Node
    aliases: tuple[Alias, ...]


def read_document(text: str) -> Document:
    """Parse a text to nodes.

    Raises:
        InvalidComposeError: not YAML, not exactly one document, nested too deep, or an alias before
            its anchor.
    """
    builder = _Builder(shift=1 if text.startswith(BYTE_ORDER_MARK) else 0)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.feed(event)
    except yaml.YAMLError as error:
        raise InvalidComposeError(f"the compose file is not YAML: {_problem(error)}") from None
    return builder.document()


def resolve(node: Node) -> Scalar | Sequence | Mapping:
    """Return the node, or the target of an alias."""
    return node.target if isinstance(node, Alias) else node


def scalar_value(node: Node) -> str | None:
    """Return a scalar's value as text, regardless of its type; ``None`` for a collection."""
    found = resolve(node)
    return found.value if isinstance(found, Scalar) else None


def rewrite(written: str, value: str, new: str) -> str:
    """Return the text of a scalar or alias with another value, and all else unchanged.

    ``value`` and ``new`` are one-line texts that need no quotes and no escapes.
    """
    head = _end(_PROPERTIES, written)
    properties, body = written[:head], written[head:]
    if body[0] in "\"'":
        return f"{properties}{body[0]}{new}{body[0]}"
    if body[0] in "|>":
        start = body.index(value, _end(_BLOCK_HEADER, body))
        return f"{properties}{body[:start]}{new}{body[start + len(value) :]}"
    return f"{properties}{new}"


def _end(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.match(text)
    return match.end() if match else 0


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} at line {error.problem_mark.line + 1}"
    return "it contains characters that YAML does not allow"


@dataclass
class _Open:
    """A collection whose end has not been read yet."""

    anchor: str | None
    nodes: list[Node]


class _Builder:
    """Build nodes from events; ``shift`` is added to libyaml's positions (byte order mark)."""

    def __init__(self, shift: int) -> None:
        self._shift = shift
        self._open = [_Open(None, [])]
        self._anchors: dict[str, Scalar | Sequence | Mapping] = {}
        self._aliases: list[Alias] = []

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent(tag=tag, style=style, value=value):
                self._add(Scalar(self._span(event), value, tag, not style), event.anchor)
            case yaml.AliasEvent():
                self._alias(event)
            case yaml.CollectionStartEvent():
                self._begin(event.anchor)
            case yaml.SequenceEndEvent():
                closed = self._open.pop()
                self._add(Sequence(tuple(closed.nodes)), closed.anchor)
            case yaml.MappingEndEvent():
                closed = self._open.pop()
                self._add(Mapping(tuple(_pairs(closed.nodes))), closed.anchor)
            case _:
                pass

    def document(self) -> Document:
        roots = self._open[0].nodes
        if len(roots) != 1:
            raise InvalidComposeError(f"the compose file contains {len(roots)} documents, not one")
        return Document(roots[0], tuple(self._aliases))

    def _begin(self, anchor: str | None) -> None:
        if len(self._open) > MAX_DEPTH:
            raise InvalidComposeError(f"the compose file is nested deeper than {MAX_DEPTH} levels")
        self._open.append(_Open(anchor, []))

    def _add(self, node: Scalar | Sequence | Mapping, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        self._open[-1].nodes.append(node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        target = self._anchors.get(event.anchor or "")
        if target is None:
            raise InvalidComposeError(f"the alias *{event.anchor} has no anchor before it")
        alias = Alias(self._span(event), target)
        self._aliases.append(alias)
        self._open[-1].nodes.append(alias)

    def _span(self, event: yaml.Event) -> Span:
        start, end = (mark.index if mark else 0 for mark in (event.start_mark, event.end_mark))
        return Span(start + self._shift, end + self._shift)


def _pairs(nodes: list[Node]) -> Iterable[tuple[Node, Node]]:
    return zip(nodes[::2], nodes[1::2], strict=True)
