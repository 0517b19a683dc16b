"""The common form of sources: fields in camelCase on the wire, secrets hidden, bounds."""

import json
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.alias_generators import to_camel

from shared.errors import InvalidInputError
from shared.providers import Provider, recognise

MAX_SECRET_CHARACTERS = 16 * 1024


def _require_line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("Invalid string: contains control characters or space around it")
    return text


Line = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_require_line)]
"""A short text of one line."""

Secret = Annotated[SecretStr, Field(min_length=1, max_length=MAX_SECRET_CHARACTERS)]


class Source(BaseModel):
    """A long-lived credential with which control gets short-lived logins from a provider.

    ``USERNAME`` is the username of these logins, the same for all of a kind. ``PROVIDERS`` are the
    providers whose registries accept them.
    """

    PROVIDERS: ClassVar[frozenset[Provider]]
    USERNAME: ClassVar[str]

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        strict=True,
        frozen=True,
        hide_input_in_errors=True,
    )

    kind: str

    def require_host(self, host: str) -> None:
        """Check that registries at ``host`` accept logins of this kind.

        Raises:
            InvalidInputError: they do not.
        """
        if recognise(host) not in self.PROVIDERS:
            expected = " or ".join(sorted(self.PROVIDERS))
            raise InvalidInputError(
                f"a credential of the kind {self.kind} gives no login for {host}",
                remedy=f"Use it for registries of {expected}; for others give username and "
                "password.",
            )

    def shown(self) -> dict[str, Any]:
        """Return the parts that are no secret and may be shown to callers, by field name."""
        return {
            name: value
            for name, value in self.model_dump(exclude_none=True).items()
            if not isinstance(value, SecretStr)
        }

    def to_sealable_json(self) -> str:
        """Return the source as JSON with its secrets in clear, for sealing at once."""
        return json.dumps(self.model_dump(exclude_none=True), default=_open)


def _open(value: object) -> str:
    assert isinstance(value, SecretStr)  # noqa: S101 - all else is JSON by itself
    return value.get_secret_value()
