"""The files of Google's console: keys of service accounts, and external accounts.

Their forms are those of Google's documentation, "Create and delete service account keys" and
AIP-4117.
"""

import json
import re
from typing import Annotated, Literal, Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from shared.credentials.source import Line

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
UNIVERSE = "googleapis.com"
MIN_KEY_BITS = 2048

_GOOGLE_URL = re.compile(
    r"https://(?:[a-z0-9-]+\.)*(?:googleapis\.com|accounts\.google\.com)(?::[0-9]{1,5})?/[\w@:./%-]*"
)
_IMPERSONATION = re.compile(
    r"https://[^/]+/v1/projects/-/serviceAccounts/(?P<account>[^/:]{3,200}):generateAccessToken"
)


def _require_google(url: str) -> str:
    if not _GOOGLE_URL.fullmatch(url):
        raise ValueError("is not an https:// address of Google")
    return url


GoogleUrl = Annotated[Line, AfterValidator(_require_google)]


class _File(BaseModel):
    # Google adds fields to its files; those that change nothing here are ignored.
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    universe_domain: str = UNIVERSE

    @field_validator("universe_domain")
    @classmethod
    def _public(cls, domain: str) -> str:
        if domain != UNIVERSE:
            raise ValueError(f"is not {UNIVERSE}, the only one that is supported")
        return domain


class ServiceAccountKey(_File):
    """The key file of a service account."""

    type: Literal["service_account"]
    client_email: Annotated[Line, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    private_key: SecretStr
    private_key_id: str = ""
    token_uri: GoogleUrl = TOKEN_URL

    @field_validator("private_key")
    @classmethod
    def _whole(cls, pem: SecretStr) -> SecretStr:
        _load_key(pem)
        return pem

    def key(self) -> RSAPrivateKey:
        """Return the key that signs requests."""
        return _load_key(self.private_key)


class TokenFormat(BaseModel):
    """The form of the token in its file or answer: the whole text, or a field of JSON."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    type: Literal["text", "json"] = "text"
    subject_token_field_name: str = ""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.type == "json" and not self.subject_token_field_name:
            raise ValueError("needs subject_token_field_name beside the type json")
        return self


class TokenLocation(BaseModel):
    """The file or the URL of a token, both as the machine of control sees them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    file: Annotated[Line, Field(pattern="^/")] | None = None
    url: Annotated[Line, Field(pattern="^https?://")] | None = None
    headers: dict[str, SecretStr] = Field(default={}, max_length=20)
    format: TokenFormat = TokenFormat()

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("needs either file or url; other sources are not supported")
        return self


class Impersonation(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    token_lifetime_seconds: int = Field(default=3600, ge=600, le=43200)


class ExternalAccount(_File):
    """The configuration file of workload identity federation."""

    type: Literal["external_account"]
    audience: Annotated[Line, Field(pattern="^//iam.googleapis.com/")]
    subject_token_type: Literal[
        "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"
    ]
    token_url: GoogleUrl
    credential_source: TokenLocation
    service_account_impersonation_url: GoogleUrl | None = None
    service_account_impersonation: Impersonation = Impersonation()
    client_secret: None = None
    workforce_pool_user_project: None = None

    @field_validator("service_account_impersonation_url")
    @classmethod
    def _impersonating(cls, url: str | None) -> str | None:
        if url is not None and not _IMPERSONATION.fullmatch(url):
            raise ValueError("is not the address of generateAccessToken of a service account")
        return url

    @property
    def service_account(self) -> str:
        """Return the e-mail address of the impersonated account; empty for none."""
        found = _IMPERSONATION.fullmatch(self.service_account_impersonation_url or "")
        return found["account"] if found else ""


AnyFile = TypeVar("AnyFile", bound=_File)


def parse_file(form: type[AnyFile], text: SecretStr, what: str) -> AnyFile:
    """Parse the text of a file; ``what`` names it in messages.

    Raises:
        ValueError: it is not whole, or of another kind; the message contains nothing of it.
    """
    try:
        document = json.loads(text.get_secret_value())
    except (ValueError, RecursionError):
        # Without its cause, which contains the text.
        raise ValueError(f"the {what} is no JSON; give the whole file") from None
    if not isinstance(document, dict):
        raise ValueError(f"the {what} is no JSON object; give the whole file")  # noqa: TRY004
    try:
        return form.model_validate(document)
    except ValidationError as error:
        [first, *_] = error.errors(include_input=False, include_url=False, include_context=False)
        raise ValueError(_describe(first["type"], first["loc"], first["msg"], what)) from None


def _describe(kind: str, path: tuple[int | str, ...], message: str, what: str) -> str:
    # Names from our own models: a header's name, which a file chooses, is left out.
    field = ".".join(str(part) for part in path[:2])
    match kind:
        case "missing":
            return f"the {what} lacks {field}; give the whole file"
        case "value_error":
            return f"the {what}: {field} {message.removeprefix('Value error, ')}"
        case "literal_error" if field == "type":
            return f"the {what} is of another type; give the file that the field is named for"
        case "none_required" | "extra_forbidden":
            return f"the {what}: {field} is not supported"
        case _:
            return f"the {what}: {field} is not valid"


def _load_key(pem: SecretStr) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.get_secret_value().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is damaged: it is no whole private key in PEM") from None
    if not isinstance(key, RSAPrivateKey) or key.key_size < MIN_KEY_BITS:
        raise ValueError(f"is no RSA key of at least {MIN_KEY_BITS} bits")
    return key
