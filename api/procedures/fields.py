"""The shapes that inputs and outputs are made of: camelCase on the wire, strict, with a length."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel

MAX_PASSWORD_BYTES = 8 * 1024
SNAKE = re.compile("[a-z]+(_[a-z0-9]+)+")


class Input(BaseModel):
    """What a client sends; unknown fields are refused, and text that PostgreSQL cannot hold."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\0" in text or not _is_unicode(text)):
                raise ValueError("Invalid string: holds a NUL or half of a surrogate pair")
        return value


class NoInput(Input):
    """For a query that asks for nothing in particular."""


class Output(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, from_attributes=True, frozen=True
    )


class Accepted(Output):
    """A job that was stored and is not waited for."""

    job_id: str


def show_moment(moment: datetime) -> str:
    """``2024-01-15T10:30:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_document(document: Any) -> Any:
    """A stored document as it is shown: snake_case keys become camelCase, others stay."""
    match document:
        case dict():
            return {_show_key(str(key)): show_document(value) for key, value in document.items()}
        case list():
            return [show_document(value) for value in document]
        case _:
            return document


def _show_key(key: str) -> str:
    # Only what is surely a field's name: a layer's id or a label may be a key too.
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
Ids = Annotated[list[Id], Field(max_length=100), AfterValidator(_unique_ids)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(max_length=1000)]
Url = Annotated[str, Field(max_length=300)]
Prefix = Annotated[str, Field(max_length=300)]
ImageName = Annotated[str, Field(min_length=1, max_length=700)]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
Username = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=400)]
Password = Annotated[SecretStr, Field(min_length=1), AfterValidator(_require_short)]
RegistryType = Literal["cloud", "selfHosted"]
RoleName = Literal["admin", "member"]
Ignored = Annotated[JsonValue, WithJsonSchema({})]
"""A field that Dokploy's clients send and that means nothing here."""

Moment = Annotated[
    AwareDatetime,
    PlainSerializer(show_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Document = dict[str, JsonValue]
