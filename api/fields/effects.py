"""Effects of input fields: each one takes effect, is refused, or is named in the warnings.

A field that applies only to some applications has a rule in its annotation:
``branch: Annotated[Branch | None, AppliesTo("source_type", ("git",), refused=True)]``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from api.errors import NoEffectError

CODE = NoEffectError.code
ALIASES = {"git_token": "customGitToken"}
"""Attributes whose name on the wire differs."""

NOTHING: tuple[object, ...] = (None, "", [], {})
"""Values that request nothing, so ignoring them needs no warning."""


class FieldWarning(BaseModel):
    """A field of the request that was accepted and has no effect; ``message`` says why."""

    model_config = ConfigDict(frozen=True)

    field: str
    code: str = CODE
    message: str


class Rule(Protocol):
    """A condition for a field's effect. ``harmless`` is a value that requests nothing."""

    @property
    def refused(self) -> bool: ...

    @property
    def harmless(self) -> object: ...

    def reason(self, name: str, request: BaseModel, subject: object, /) -> str | None:
        """Return the reason why the field has no effect; `None` if it has one."""


@dataclass(frozen=True)
class AppliesTo:
    """A rule: the subject's attribute is one of ``values``, or is not empty if none are given.

    With values, a subject whose attribute is `None` passes.
    """

    attribute: str
    values: tuple[str, ...] = ()
    refused: bool = False
    harmless: object = None

    def reason(self, name: str, _request: BaseModel, subject: object) -> str | None:
        if subject is None:
            return None
        value = getattr(subject, self.attribute)
        other = ALIASES.get(self.attribute, to_camel(self.attribute))
        if not self.values:
            return None if value else f"{name} has no effect without {other}"
        if value is None or value in self.values:
            return None
        expected = " or ".join(self.values)
        return f"{name} has no effect if {other} is {value}, only if it is {expected}"


@dataclass(frozen=True)
class NotBeside:
    """A rule: another field of the same input, which takes precedence, is not given."""

    other: str
    refused: bool = False
    harmless: object = None

    def reason(self, name: str, request: BaseModel, _subject: object) -> str | None:
        is_given = self.other in request.model_fields_set
        if not is_given or getattr(request, self.other) in NOTHING:
            return None
        return (
            f"{name} has no effect together with {_name_of(type(request).model_fields[self.other])}"
        )


@dataclass(frozen=True)
class Fixed:
    """A rule: the setting always has the value ``harmless``, and ``why`` says so."""

    harmless: object
    why: str
    refused: bool = False

    def reason(self, name: str, _request: BaseModel, _subject: object) -> str | None:
        return f"{name} has no effect: {self.why}"


def judge(request: BaseModel, subject: object = None) -> list[FieldWarning]:
    """Return warnings for the given fields without effect; without a subject, by the input alone.

    Raises:
        NoEffectError: a field would change the outcome, but cannot take effect.
    """
    found = list(_findings(request, subject))
    for warning, refused in found:
        if refused:
            raise NoEffectError(warning.message, remedy=f"Leave {warning.field} out.")
    return [warning for warning, _ in found]


def rules_of(field: FieldInfo) -> list[Rule]:
    """Return the rules of a field."""
    return [each for each in field.metadata if isinstance(each, AppliesTo | Fixed | NotBeside)]


def _findings(request: BaseModel, subject: object) -> Iterator[tuple[FieldWarning, bool]]:
    for name in sorted(request.model_fields_set):
        field, value = type(request).model_fields[name], getattr(request, name)
        for rule in rules_of(field):
            if value in NOTHING or value == rule.harmless:
                continue
            if reason := rule.reason(_name_of(field), request, subject):
                yield FieldWarning(field=_name_of(field), message=reason), rule.refused
        for part in _parts(value):
            yield from _findings(part, subject)


def _parts(value: Any) -> list[BaseModel]:
    return [each for each in (value if isinstance(value, list) else [value]) if _is_model(each)]


def _is_model(value: object) -> bool:
    return isinstance(value, BaseModel)


def _name_of(field: FieldInfo) -> str:
    return str(field.alias)
