"""One call of a procedure: its input, and the type of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, WrapValidator
from pydantic.alias_generators import to_camel

from wharfinger.content import Content

Answer = TypeVar("Answer")


class Omit(Enum):
    """The default of an argument that is not sent: the API decides."""

    OMIT = "omit"


OMIT = Omit.OMIT


class Model(BaseModel):
    """A part of an input or an answer; fields that this version does not know are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, frozen=True
    )


def _accept_unknown(value: Any, known: Any) -> Any:
    try:
        return known(value)
    except ValueError:
        if isinstance(value, str):
            return value
        raise


OPEN = WrapValidator(_accept_unknown)
"""Accept a value that a newer API may have added to a list of values."""


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A call; ``answer`` is the type of its answer.

    ``takes_key``: it submits work, so an ``Idempotency-Key`` makes a repetition harmless.
    ``respond_async``: the API answers at once, and does not wait for the work.
    ``body`` has the names of JSON; it may hold secrets, so the representation leaves it out.
    """

    procedure: str
    answer: Any
    method: Literal["GET", "POST"]
    body: Mapping[str, object] = field(default_factory=dict, repr=False)
    takes_key: bool = False
    idempotency_key: str | None = None
    respond_async: bool = False
    content: Content | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def input(self) -> dict[str, Any]:
        """Return the input as JSON values, without what was omitted."""
        given = {name: value for name, value in self.body.items() if value is not OMIT}
        shown: dict[str, Any] = _INPUT.dump_python(
            given, mode="json", by_alias=True, exclude_unset=True
        )
        return shown

    def read(self, text: bytes) -> Answer:
        """Parse the answer.

        Raises:
            ValueError: it does not have the type.
        """
        answer: Answer = _adapter(self.answer).validate_json(text)
        return answer


_INPUT = TypeAdapter(dict[str, Any])


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
