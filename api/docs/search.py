"""Search over the headings of all pages and the text below them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from api.docs.rendering import Passage

MAX_RESULTS = 40
MAX_WORDS = 8


@dataclass(frozen=True)
class Entry:
    """A passage that can be found; ``heading`` and ``text`` are compared without case."""

    url: str
    title: str
    shown: str
    heading: str
    text: str


def make_entries(url: str, title: str, passages: Iterable[Passage]) -> Iterator[Entry]:
    """Make the entries of one page."""
    for each in passages:
        heading = f"{title} {each.heading}".casefold()
        text = " ".join(each.text).casefold()
        yield Entry(f"{url}#{each.anchor}", title, each.heading, heading, text)


def find(query: str, entries: Iterable[Entry]) -> list[Entry]:
    """Find the passages with all words of a query. Those with the words in the heading are first.

    The order is stable, so that within each rank results keep the order of the contents list.
    """
    words = query.casefold().split()[:MAX_WORDS]
    if not words:
        return []
    ranked = [(rank, entry) for entry in entries if (rank := _rank(words, entry)) is not None]
    return [entry for _, entry in sorted(ranked, key=lambda pair: pair[0])][:MAX_RESULTS]


def _rank(words: list[str], entry: Entry) -> int | None:
    shown = entry.shown.casefold()
    if all(word in shown for word in words):
        return 0
    if all(word in entry.heading for word in words):
        return 1
    if all(word in entry.heading or word in entry.text for word in words):
        return 2
    return None
