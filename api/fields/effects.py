"""Effects of input fields: each one takes effect, is refused, or is named in the warnings.

A field that means something only for some applications carries a rule in its annotation:
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
"""Attributes that are not called on the wire as they are here."""

NOTHING: tuple[object, ...] = (None, "", [], {})
"""Values that ask for nothing, so that nothing of them is ignored."""


class FieldWarning(BaseModel):
    """A field of the request that was accepted and has no effect; ``message`` says why."""

    model_config = ConfigDict(frozen=True)

    field: str
    code: str = CODE
    message: str


class Rule(Protocol):
    """A condition for a field's effect. ``harmless`` is a value that asks for nothing."""

    @property
    def refused(self) -> bool: ...

    @property
    def harmless(self) -> object: ...

    def reason(self, name: str, request: BaseModel, subject: object, /) -> str | None:
        """Give the reason why the field has no effect; `None` where it has one."""


@dataclass(frozen=True)
class AppliesTo:
    """A rule: the subject's attribute is one of ``values``, or is not empty if none are given.

    With values, a subject that has not chosen yet is no obstacle.
    """

    attribute: str
    values: tuple[str, ...] = ()
    refused: bool = False
    harmless: object = None

    def reason(self, name: str, _asked: BaseModel, subject: object) -> str | None:
        if subject is None:
            return None
        value = getattr(subject, self.attribute)
        other = ALIASES.get(self.attribute, to_camel(self.attribute))
        if not self.values:
            return None if value else f"{name} has no effect without {other}"
        if value is None or value in self.values:
            return None
        wanted = " or ".join(self.values)
        return f"{name} has no effect where {other} is {value}, only where it is {wanted}"


@dataclass(frozen=True)
class NotBeside:
    """A rule: another field of the same input, which goes before this one, is not given."""

    other: str
    refused: bool = False
    harmless: object = None

    def reason(self, name: str, request: BaseModel, _subject: object) -> str | None:
        if getattr(request, self.other) in NOTHING:
            return None
        return f"{name} has no effect beside {_name_of(type(request).model_fields[self.other])}"


def judge(request: BaseModel, subject: object = None) -> list[FieldWarning]:
    """Name the given fields without effect; without a subject by what the input itself says.

    Raises:
        NoEffectError: a field would change what is done, and cannot.
    """
    found = list(_findings(request, subject))
    for warning, refused in found:
        if refused:
            raise NoEffectError(warning.message, remedy=f"Leave {warning.field} out.")
    return [warning for warning, _ in found]


def rules_of(field: FieldInfo) -> list[Rule]:
    """The rules that a field carries."""
    return [each for each in field.metadata if isinstance(each, AppliesTo | NotBeside)]


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
