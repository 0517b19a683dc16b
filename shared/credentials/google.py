"""Google: the key of a service account, or an external account (workload identity federation)."""

import base64
import binascii
import contextlib
from typing import Any, ClassVar, Literal, Self

from pydantic import SecretStr, ValidationError, model_validator

from shared.credentials.google_files import ExternalAccount, ServiceAccountKey, parse_file
from shared.credentials.source import Secret, Source
from shared.providers import Provider

KEY_USERNAMES = ("_json_key", "_json_key_base64")
"""The usernames of logins whose password is a service account's key, plain or in base64."""

_MARKS = ("PRIVATE KEY", "private_key")


class GoogleSource(Source):
    """A service account's key, or an external account, each as the text of its JSON file."""

    PROVIDERS: ClassVar = frozenset({Provider.GOOGLE})
    USERNAME: ClassVar = "oauth2accesstoken"

    kind: Literal["google"]
    service_account_key: Secret | None = None
    external_account: Secret | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.service_account_key is None) == (self.external_account is None):
            raise ValueError("Give either serviceAccountKey or externalAccount")
        self.content()
        return self

    @property
    def uses_machine(self) -> bool:
        """Return whether it reads a file or a URL of the machine of control."""
        return self.external_account is not None

    def content(self) -> ServiceAccountKey | ExternalAccount:
        """Parse the file.

        Raises:
            ValueError: it is not whole, or of another kind; the message contains nothing of it.
        """
        if self.service_account_key is not None:
            return parse_file(ServiceAccountKey, self.service_account_key, "service account's key")
        if self.external_account is not None:
            return parse_file(ExternalAccount, self.external_account, "external account's file")
        raise ValueError("Give either serviceAccountKey or externalAccount")

    def shown(self) -> dict[str, Any]:
        """Return whose the credential is, and no part of a secret."""
        match self.content():
            case ServiceAccountKey() as key:
                return {"kind": self.kind, "service_account": key.client_email}
            case ExternalAccount() as account:
                named = account.service_account
                shown = {"kind": self.kind, "audience": account.audience}
                return shown | ({"service_account": named} if named else {})


def parse_key_login(username: str, password: SecretStr) -> GoogleSource | None:
    """Return the source that a login with a service account's key stands for.

    ``None`` for a login of another form.

    Raises:
        ValueError: the key is not whole; the message contains nothing of it.
    """
    if username not in KEY_USERNAMES:
        return None
    text = password.get_secret_value()
    if username == "_json_key_base64":
        text = _decode(text)
    try:
        return GoogleSource(kind="google", service_account_key=SecretStr(text))
    except ValidationError as error:
        [first, *_] = error.errors(include_input=False, include_url=False, include_context=False)
        raise ValueError(first["msg"].removeprefix("Value error, ")) from None


def holds_part_of_key(password: SecretStr) -> bool:
    """Return whether a text, plain or in base64, contains a part of a service account's key."""
    text = password.get_secret_value()
    plain = "".join(text.split()).rstrip("=")
    decoded = b""
    with contextlib.suppress(binascii.Error, ValueError):
        decoded = base64.b64decode(plain[: len(plain) // 4 * 4])
    return any(mark in text or mark.encode() in decoded for mark in _MARKS)


def _decode(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("the service account's key is not in base64") from None
