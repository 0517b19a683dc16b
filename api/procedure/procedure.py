"""A procedure: a plain async function with a name, an input, an output and a role."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

from api.errors import InvalidFieldsError
from api.fields.effects import FieldWarning
from api.fields.issues import Undefined, missing_input, read_issues
from api.fields.shapes import Accepted, Input, NoInput, Warned
from api.procedure.context import Context, Role

AnyInput = TypeVar("AnyInput", bound=Input)
AnyOutput = TypeVar("AnyOutput")


@dataclass(frozen=True)
class Flat:
    """An input from query parameters: all its values are text."""

    values: dict[str, str]


@dataclass(frozen=True)
class Procedure(Generic[AnyInput, AnyOutput]):
    """``role`` is the one that a caller needs at least, `None` for a public procedure.

    By default a query needs a viewer, and a mutation a member, as a viewer changes nothing.

    ``waits``: it waits for a job, so a caller's disconnection has to be noticed. ``repeatable``:
    what it stores has the id `Context.job_id`, as a job has.
    """

    name: str
    kind: Literal["query", "mutation"]
    input: type[AnyInput]
    output: type[AnyOutput]
    run: Callable[[Context, AnyInput], Awaitable[AnyOutput | Accepted]]
    role: Role | None = "viewer"
    waits: bool = False
    repeatable: bool = False

    def __post_init__(self) -> None:
        if self.kind == "mutation" and self.role == "viewer":
            object.__setattr__(self, "role", "member")

    @property
    def method(self) -> Literal["GET", "POST"]:
        """Return the HTTP method of the procedure: GET for a query, POST for a mutation."""
        return "GET" if self.kind == "query" else "POST"

    @property
    def submits(self) -> bool:
        """Return whether it submits work, so that an ``Idempotency-Key`` makes it repeatable."""
        if self.kind == "query":
            return False
        return self.waits or self.repeatable or Accepted in getattr(self.output, "__mro__", ())

    @property
    def summary(self) -> str:
        return (self.run.__doc__ or self.name).strip().partition("\n")[0]

    @property
    def description(self) -> str:
        """Return the docstring after its first line, without the section on exceptions."""
        text = inspect.cleandoc(self.run.__doc__ or "").partition("\n")[2]
        return text.partition("Raises:\n")[0].strip()

    @cached_property
    def _shown(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.output)

    def parse(self, raw: object) -> AnyInput:
        """Parse a JSON value, `Flat` parameters or nothing (`Undefined`) to the typed input.

        Raises:
            InvalidFieldsError: it does not have the input's shape.
        """
        if raw is Undefined.VALUE and self._needs_nothing:
            raw = {}
        if raw is None and self.input is NoInput:
            raw = {}
        if raw is Undefined.VALUE:
            raise InvalidFieldsError(missing_input())
        try:
            if isinstance(raw, Flat):
                return self.input.model_validate_strings(raw.values, strict=False)
            return self.input.model_validate(raw)
        except ValidationError as error:
            raise InvalidFieldsError(read_issues(self.input, error)) from None

    def show(self, output: AnyOutput | Accepted, warnings: Sequence[FieldWarning] = ()) -> bytes:
        """Write the output as compact JSON, with the warnings if it has a field for them."""
        if warnings and isinstance(output, Warned):
            output = output.model_copy(update={"warnings": list(warnings)})
        if isinstance(output, Accepted):
            return output.model_dump_json(by_alias=True).encode()
        return self._shown.dump_json(output, by_alias=True)

    @property
    def _needs_nothing(self) -> bool:
        return not any(field.is_required() for field in self.input.model_fields.values())
