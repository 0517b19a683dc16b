"""The page on Dokploy's procedures, from the table that the API answers by."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from api.http.published import DIFFERENCES, REASONS, WORKS, Published, read_published

INTRODUCTION = """
Clients and pipelines that were made for Dokploy call the procedures of Dokploy 0.30.7, which are
listed here as its command line has them. Those that are not offered are answered with 501 and the
code `not_offered`, and nothing happens.

A field of Dokploy without effect here is accepted, and named in the answer's `warnings` and in the
header `x-wharf-warnings`. Passwords and secrets are in no answer.
"""


def make_dokploy_page(made: str) -> str:
    """Return the page: what is offered by name, what is not by its reason."""
    rows = read_published().values()
    offered = [row for row in rows if row.is_offered]
    lines = [
        "# Dokploy's procedures",
        "",
        f"{made} {INTRODUCTION.strip()}",
        "",
        f"Of {len(rows)} procedures {len(offered)} are offered.",
        "",
        "## Offered",
        "",
        "| procedure | verdict | difference |",
        "|---|---|---|",
        *(_offered(row) for row in offered),
        "",
        "## Not offered",
        "",
        "| procedures | reason |",
        "|---|---|",
        *_not_offered(rows),
    ]
    return "\n".join(lines) + "\n"


def _offered(row: Published) -> str:
    difference = DIFFERENCES[row.name] if row.verdict != WORKS else ""
    return f"| `{row.name}` | {row.verdict} | {difference} |"


def _not_offered(rows: Iterable[Published]) -> Iterator[str]:
    by_reason: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if not row.is_offered:
            router, _, name = row.name.partition(".")
            by_reason[row.verdict][router].append(f"`{name}`")
    for reason in sorted(by_reason, key=REASONS.__getitem__):
        for router, names in by_reason[reason].items():
            yield f"| `{router}`: {' '.join(names)} | {REASONS[reason]} |"
