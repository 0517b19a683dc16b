"""The services of a compose file: values with merges and ``extends``, and which of them run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.compose.nodes import Document, Mapping, Node, Sequence, resolve, scalar_value
from shared.compose.variables import Variables
from shared.errors import InvalidComposeError

MAX_SERVICES = 200
MERGE = "<<"
MAX_MERGED = 200
"""Limit for one service: each mapping is searched again for every service that merges it."""

ALL_PROFILES = "*"
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,63}")


@dataclass(frozen=True)
class Service:
    """One service; ``layers`` are its own mapping and those that it extends, the nearest first."""

    name: str
    layers: tuple[Mapping, ...]
    other_file: str = ""

    def find(self, key: str) -> Node | None:
        """Return the value of ``key``."""
        values = (find(layer, key) for layer in self.layers)
        return next((value for value in values if value is not None), None)

    def text(self, key: str, variables: Variables) -> str:
        """Return the text of ``key``; empty if there is none."""
        value = self.find(key)
        return variables.fill((value and scalar_value(value)) or "", is_strict=False)

    def is_active(self, active: frozenset[str], variables: Variables) -> bool:
        """Return whether it has no profile, or an active one. Extending one adds its profiles."""
        profiles = {
            variables.fill(scalar_value(item) or "", is_strict=False)
            for layer in self.layers
            if isinstance(listed := resolve(find(layer, "profiles") or _NOTHING), Sequence)
            for item in listed.items
        }
        return not profiles or ALL_PROFILES in active or bool(profiles & active)


_NOTHING = Sequence(())


def read_services(document: Document) -> list[Service]:
    """Return the services in the file's order.

    Raises:
        InvalidComposeError: no services, or an invalid one; it names the service.
    """
    mappings = _mappings(document)
    return [_extended(name, mappings) for name in mappings]


def list_includes(document: Document) -> list[str]:
    """Return the paths of the files that this one includes."""
    root = resolve(document.root)
    included = root.get("include") if isinstance(root, Mapping) else None
    node = resolve(included) if included is not None else _NOTHING
    return [
        path for item in (node.items if isinstance(node, Sequence) else ()) for path in _paths(item)
    ]


def find(mapping: Mapping, key: str) -> Node | None:
    """Return the value of ``key``: its own, or of the first merged mapping; visit each once."""
    todo, seen = [mapping], set[Mapping]()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if (value := current.get(key)) is not None:
            return value
        todo.extend(reversed(_merged(current)))
        if len(seen) + len(todo) > MAX_MERGED:
            raise InvalidComposeError(f"a service merges more than {MAX_MERGED} mappings")
    return None


def _mappings(document: Document) -> dict[str, Mapping]:
    root = resolve(document.root)
    services = root.get("services") if isinstance(root, Mapping) else None
    listed = resolve(services) if services is not None else None
    if not isinstance(listed, Mapping) or not 0 < len(listed.pairs) <= MAX_SERVICES:
        raise InvalidComposeError(f"a compose file needs a mapping of 1 to {MAX_SERVICES} services")
    found: dict[str, Mapping] = {}
    for key, value in listed.pairs:
        name, service = scalar_value(key) or "", resolve(value)
        if not _SERVICE.fullmatch(name):
            raise InvalidComposeError(f"not a service's name: {name[:63]!r}")
        if name in found:
            raise InvalidComposeError(f"the compose file has the service {name} twice")
        if not isinstance(service, Mapping):
            raise InvalidComposeError(f"the service {name} is not a mapping")
        found[name] = service
    return found


def _extended(name: str, mappings: dict[str, Mapping]) -> Service:
    layers, current = [mappings[name]], mappings[name]
    while (extends := find(current, "extends")) is not None:
        node = resolve(extends)
        if isinstance(node, Mapping) and (file := node.get("file")) is not None:
            return Service(name, tuple(layers), other_file=scalar_value(file) or "")
        target = node.get("service") if isinstance(node, Mapping) else node
        extended = mappings.get((target and scalar_value(target)) or "")
        if extended is None or extended in layers:
            raise InvalidComposeError(f"the service {name} extends one that the file does not have")
        layers.append(extended)
        current = extended
    return Service(name, tuple(layers))


def _paths(item: Node) -> Iterator[str]:
    """Yield the paths of one item of ``include``: a path, or a mapping with one or several."""
    node = resolve(item)
    if isinstance(node, Mapping):
        paths = node.get("path")
        node = resolve(paths) if paths is not None else _NOTHING
    for part in node.items if isinstance(node, Sequence) else (node,):
        yield scalar_value(part) or ""


def _merged(mapping: Mapping) -> list[Mapping]:
    merged = mapping.get(MERGE)
    if merged is None:
        return []
    node = resolve(merged)
    sources = node.items if isinstance(node, Sequence) else (node,)
    return [found for source in sources if isinstance(found := resolve(source), Mapping)]
