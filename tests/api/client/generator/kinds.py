"""The module that names the queries of the API and the procedures that take a key."""

from collections.abc import Iterable

from tests.api.client.generator.operations import Operation


def write_kinds(operations: list[Operation]) -> str:
    """Return the module."""
    queries = _names(each.name for each in operations if each.method == "GET")
    submitting = _names(each.name for each in operations if each.takes_key)
    return f'''"""The kinds of the procedures of the API, for calls by name.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

QUERIES = frozenset({{{queries}}})
"""Procedures that change nothing, and are called by GET."""

SUBMITTING = frozenset({{{submitting}}})
"""Procedures that submit work, and take an ``Idempotency-Key``."""
'''


def _names(names: Iterable[str]) -> str:
    return "".join(f'"{name}", ' for name in sorted(names))
