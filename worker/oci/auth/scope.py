"""Scopes of tokens: the requested actions, and those that a token grants (JWT, RFC 7519)."""

import base64
import json
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from worker.oci.transport.verdicts import Operation

PULL = frozenset({"pull"})
PUSH = frozenset({"pull", "push"})
PUSH_AND_CANCEL = frozenset({"pull", "push", "delete"})
DELETE = frozenset({"pull", "delete"})
EVERYTHING = frozenset("*")


@dataclass(frozen=True)
class Scope:
    """A resource and the actions on it: ``repository:team/app:pull,push``, ``registry:catalog:*``.

    ``mount_from`` is another repository to mount blobs from. A token is also requested for ``pull``
    there, and is valid without it.
    """

    name: str
    actions: frozenset[str]
    kind: str = "repository"
    mount_from: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions, key=_in_order))}"

    def covers(self, other: "Scope") -> bool:
        is_same = (self.kind, self.name) == (other.kind, other.name)
        return (
            is_same and self.actions >= other.actions and other.mount_from in {"", self.mount_from}
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Return all scopes to request from a token server."""
        return (str(self), str(Scope(self.mount_from, PULL))) if self.mount_from else (str(self),)

    @property
    def operation(self) -> Operation:
        if self.kind != "repository":
            return Operation.CATALOG
        if "push" in self.actions:
            return Operation.PUSH
        return Operation.DELETE if "delete" in self.actions else Operation.PULL


class Access(BaseModel):
    """The actions that a token grants on one resource."""

    type: str = ""
    name: str = ""
    actions: list[str] = []


class Claims(BaseModel):
    """The purpose that a readable token states; ``scope`` is text of some token servers."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)

    access: list[Access] | None = None
    scope: str = ""

    def granted(self, scope: Scope | None) -> frozenset[str] | None:
        """Return the actions granted within ``scope``; ``None`` if the token does not say."""
        if scope is None or "access" not in self.model_fields_set:
            return None
        return frozenset(
            action
            for access in self.access or ()
            if (access.type, access.name) == (scope.kind, scope.name)
            for action in access.actions
        )


UNKNOWN = Claims()
"""The claims of an opaque token."""


def parse_claims(value: str) -> Claims:
    """Return the claims of a token; `UNKNOWN` for an opaque one.

    The registry verifies the signature; here the claims only say what to expect.
    """
    try:
        document = json.loads(_decode(value.split(".")[1]))
        if isinstance(document, dict) and not isinstance(document.get("scope", ""), str):
            del document["scope"]
        return Claims.model_validate(document)
    except (IndexError, ValueError, RecursionError):
        return UNKNOWN


def parse_granted(value: str, scope: Scope | None) -> frozenset[str] | None:
    """Return the actions that a token grants within ``scope``; ``None`` if it does not say."""
    return parse_claims(value).granted(scope)


def _in_order(action: str) -> tuple[int, str]:
    return ("pull push delete".find(action), action)


def _decode(part: str) -> bytes:
    """Decode base64 without padding; raise `ValueError` if it is not base64."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
