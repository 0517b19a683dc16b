"""Base models and field types of inputs and outputs: camelCase on the wire, strict, bounded."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ModelWrapValidatorHandler,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from api.fields.effects import NOTHING, FieldWarning

MAX_PASSWORD_BYTES = 8 * 1024
SNAKE = re.compile("[a-z]+(_[a-z0-9]+)+")


class Input(BaseModel):
    """Input of a client; unknown fields are refused, and text that PostgreSQL cannot store.

    ``NOT_USED`` are fields that Dokploy's clients send and that have no effect here, each with the
    reason; they are accepted, and named in the answer's warnings. So is a ``NEVER_NULL`` field that
    is ``null``, which counts as left out.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = {}
    NEVER_NULL: ClassVar[frozenset[str]] = frozenset()

    _dropped: tuple[FieldWarning, ...] = PrivateAttr(default=())

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    @property
    def warnings(self) -> list[FieldWarning]:
        """Return a warning for each given field that is not used."""
        return list(self._dropped)

    @model_validator(mode="wrap")
    @classmethod
    def _set_aside(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, dict):
            return handler(value)
        nulls = {name for name in cls.NEVER_NULL if name in value and value[name] is None}
        dropped = nulls | cls.NOT_USED.keys()
        request = handler({name: given for name, given in value.items() if name not in dropped})
        unused = {name: f"{name} has no effect: it cannot be null" for name in nulls} | {
            name: why for name, why in cls.NOT_USED.items() if value.get(name) not in NOTHING
        }
        request._dropped = tuple(  # noqa: SLF001
            FieldWarning(field=name, message=unused[name]) for name in value if name in unused
        )
        return request

    @field_validator("*", mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)  # JSON has one kind of number.
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\0" in text or not _is_unicode(text)):
                raise ValueError("Invalid string: contains a NUL or an unpaired surrogate")
        return value


class Change(Input):
    """A partial update: a field that is not given does not change.

    Defaults of subclasses mean "not given". Schemas omit them, because generated clients would
    send them.
    """


class NoInput(Input):
    """An input without fields."""


class Output(BaseModel):
    """Output for a client."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        frozen=True,
        defer_build=True,
    )


class Warned(Output):
    """An answer with warnings for the request's fields without effect, if there are any."""

    warnings: list[FieldWarning] = Field(default_factory=list, exclude_if=lambda found: not found)


class Accepted(Output):
    """A job that was stored; its end is not awaited."""

    job_id: str


def show_moment(moment: datetime) -> str:
    """Write a time as ``2024-01-15T10:30:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_document(document: Any) -> Any:
    """Convert a stored document for output: snake_case keys become camelCase, others stay."""
    match document:
        case dict():
            return {_show_key(str(key)): show_document(value) for key, value in document.items()}
        case list():
            return [show_document(value) for value in document]
        case _:
            return document


def _show_key(key: str) -> str:
    # Only keys in snake_case: a layer's id or a label may be a key too.
    return re.sub("_(.)", lambda match: match[1].upper(), key) if SNAKE.fullmatch(key) else key


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_short(password: SecretStr) -> SecretStr:
    if len(password.get_secret_value().encode()) > MAX_PASSWORD_BYTES:
        raise ValueError(f"Too big: expected a password of <={MAX_PASSWORD_BYTES} bytes")
    return password


def _unique_ids(ids: list[str]) -> list[str]:
    if len(set(ids)) < len(ids):
        raise ValueError("Invalid list: an id is given twice")
    return ids


Id = Annotated[str, Field(min_length=1, max_length=100)]

Cursor = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
"""The id that a page ended with; another text would select any page."""
Ids = Annotated[list[Id], Field(max_length=100), AfterValidator(_unique_ids)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[
    str,
    Field(max_length=1000),
    BeforeValidator(lambda value: "" if value is None else value),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 1000}, {"type": "null"}]}),
]
"""Text that may be empty; ``null``, which Dokploy's clients send, is the empty text."""

Url = Annotated[str, Field(max_length=300)]
Prefix = Annotated[str, Field(max_length=300)]
ImageName = Annotated[str, Field(min_length=1, max_length=700)]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
Username = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
Password = Annotated[SecretStr, Field(min_length=1), AfterValidator(_require_short)]
RegistryType = Literal["cloud", "selfHosted"]
RoleName = Literal["admin", "member", "viewer"]
MemberRole = Literal["owner", "admin", "member", "viewer"]
Moment = Annotated[
    AwareDatetime,
    PlainSerializer(show_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Document = dict[str, JsonValue]
