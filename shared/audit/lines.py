"""The lines of an exported log, each a JSON object with a ``type``.

```text
key …  segment …  (checkpoint …  entry …)…  end
```

A checkpoint stands before its entry; ``end`` says where the log was left.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.audit.checkpoints import Checkpoint, Segment, VerifyingKey
from shared.audit.entries import Entry


@dataclass(frozen=True)
class End:
    """The newest entry and the number of the newest checkpoint when the log was exported."""

    sequence: int
    hash: str
    checkpoint: int

    def show(self) -> dict[str, Any]:
        """Return the end as it is exported."""
        return dict(vars(self))

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """Read an exported end.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(int(document["sequence"]), str(document["hash"]), int(document["checkpoint"]))


Line = VerifyingKey | Segment | Checkpoint | Entry | End

_PARSERS: dict[str, Callable[[Mapping[str, Any]], Line]] = {
    "key": lambda document: VerifyingKey.parse(str(document["publicKey"])),
    "segment": Segment.parse,
    "checkpoint": Checkpoint.parse,
    "entry": Entry.parse,
    "end": End.parse,
}


def show_line(line: Line) -> dict[str, Any]:
    """Return a line as a document."""
    match line:
        case VerifyingKey():
            return {"type": "key", "publicKey": str(line)}
        case Segment() | Checkpoint():
            return {"type": line.kind, **line.show()}
        case Entry():
            return {"type": "entry", **line.show()}
        case End():
            return {"type": "end", **line.show()}


def parse_line(document: object) -> Line:
    """Read a line.

    Raises:
        ValueError: it is not one of an exported log.
    """
    try:
        assert isinstance(document, Mapping)  # noqa: S101 - caught below
        line = _PARSERS[document["type"]](document)
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a line of an audit log: {type(error).__name__}") from error
    return line


def write_line(line: Line) -> str:
    """Return a line as text, with its line end."""
    return json.dumps(show_line(line), ensure_ascii=False) + "\n"
