"""What a token is asked for, and what a token says it grants (JWT, RFC 7519)."""

import base64
import binascii
import json
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from worker.oci.transport.answers import Asked

PULL = frozenset({"pull"})
PUSH = frozenset({"pull", "push"})
PUSH_AND_CANCEL = frozenset({"pull", "push", "delete"})
DELETE = frozenset({"pull", "delete"})
EVERYTHING = frozenset("*")


@dataclass(frozen=True)
class Scope:
    """``repository:team/app:pull,push`` or ``registry:catalog:*``.

    ``mounts`` is another repository that blobs are wished from: a token is asked for ``pull`` there
    as well, and serves without it.
    """

    name: str
    actions: frozenset[str]
    kind: str = "repository"
    mounts: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions, key=_in_order))}"

    def covers(self, other: "Scope") -> bool:
        is_same = (self.kind, self.name) == (other.kind, other.name)
        return is_same and self.actions >= other.actions and other.mounts in {"", self.mounts}

    @property
    def parts(self) -> tuple[str, ...]:
        """Everything to ask a token server for."""
        return (str(self), str(Scope(self.mounts, PULL))) if self.mounts else (str(self),)

    @property
    def asked(self) -> Asked:
        if self.kind != "repository":
            return Asked.CATALOG
        if "push" in self.actions:
            return Asked.PUSH
        return Asked.DELETE if "delete" in self.actions else Asked.PULL


def read_granted(value: str, scope: Scope | None) -> frozenset[str] | None:
    """The actions that a token's ``access`` claim grants within ``scope``.

    ``None`` for an opaque token, and for one without that claim. The signature is the registry's
    matter: the claim only tells us what to expect.
    """
    if scope is None:
        return None
    try:
        payload = value.split(".")[1]
        claims = _Claims.model_validate(json.loads(_decode(payload)))
    except (IndexError, ValueError, RecursionError):
        return None
    if "access" not in claims.model_fields_set:
        return None
    return frozenset(
        action
        for access in claims.access or ()
        if (access.type, access.name) == (scope.kind, scope.name)
        for action in access.actions
    )


class _Access(BaseModel):
    type: str = ""
    name: str = ""
    actions: list[str] = []


class _Claims(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    access: list[_Access] | None = None


def _in_order(action: str) -> tuple[int, str]:
    return ("pull push delete".find(action), action)


def _decode(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error as error:
        raise ValueError("not base64") from error
