"""Sign in by an OpenID Connect provider: authorization code, PKCE, and a verified ID token.

Between the two steps the browser keeps state, nonce and verifier in a cookie, which is encrypted
with a key made of the client secret: so any API process may finish what another one began.
"""

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import structlog
from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]
from authlib.oidc.core import CodeIDToken  # type: ignore[import-untyped]
from authlib.oidc.discovery import get_well_known_url  # type: ignore[import-untyped]
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from api.errors import ProviderAwayError
from shared.errors import ForbiddenError, InvalidInputError
from shared.tls import tls_context

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""Signatures by a key of the provider; neither ``none`` nor one by a shared secret."""

SCOPE = "openid email profile"
PATIENCE_SECONDS = 5.0
MAX_BYTES = 1024 * 1024
KEPT_SECONDS = 3600.0
KEYS_AGAIN_SECONDS = 60.0
"""An unknown key lets the keys be read again, once in this time."""

BEGUN_SECONDS = 600
LEEWAY_SECONDS = 30
NONCE_BYTES = 12

NOT_BEGUN = InvalidInputError(
    "this sign-in was not begun in this browser, was finished, or took longer than ten minutes",
    remedy="Go to the sign-in page, and begin again.",
)
NOT_TRUSTED = InvalidInputError(
    "the answer of the sign-in provider cannot be trusted",
    remedy="Begin again. If it happens again, let the operator look at the API's log.",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class ProviderSettings:
    """The provider, and where it sends people back to; ``proof`` is for the database."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    name: str
    redirect_uri: str
    proof: bytes = field(repr=False)


@dataclass(frozen=True)
class Begun:
    """A sign-in between its two steps; then the browser goes to ``next``."""

    next: str
    invitation: str = ""
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    until: float = 0.0


@dataclass(frozen=True)
class Identity:
    """A person whom the provider vouches for; ``email`` is verified, in lower case."""

    email: str
    name: str


@dataclass
class Provider:
    """The provider, with its metadata and keys, which are read when they are needed."""

    settings: ProviderSettings
    clock: Callable[[], float] = time.time
    _metadata: tuple[float, dict[str, Any]] = (0.0, {})
    _keys: tuple[float, KeySet | None] = (0.0, None)

    async def begin(self, target: str, invitation: str) -> tuple[str, str]:
        """Return the address to send the browser to, and the cookie that it keeps.

        Raises:
            ProviderAwayError: the provider does not answer, or not as it should.
        """
        metadata = await self._read_metadata()
        begun = Begun(target, invitation, until=self.clock() + BEGUN_SECONDS)
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect_uri,
            "scope": SCOPE,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": create_s256_code_challenge(begun.verifier),
            "code_challenge_method": "S256",
        }
        endpoint = metadata["authorization_endpoint"]
        joined = "&" if urlsplit(endpoint).query else "?"
        return f"{endpoint}{joined}{urlencode(asked)}", self._seal(begun)

    def open(self, cookie: str, state: str) -> Begun:
        """Return the sign-in that this browser began with this state.

        Raises:
            InvalidInputError: it began none, another one, or too long ago.
        """
        sealed = cookie.encode("ascii", "replace")
        try:
            raw = bytes.fromhex(sealed.decode())
            text = AESGCM(self._cookie_key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None)
        except (ValueError, InvalidTag):
            raise NOT_BEGUN from None
        begun = Begun(**json.loads(text))
        is_same = secrets.compare_digest(begun.state.encode(), state.encode())
        if not is_same or self.clock() > begun.until:
            raise NOT_BEGUN
        return begun

    async def finish(self, begun: Begun, code: str) -> Identity:
        """Exchange the code for an ID token, and verify it.

        Raises:
            InvalidInputError: the code is refused, or the token is not for this sign-in.
            ForbiddenError: the provider has not verified the e-mail address.
            ProviderAwayError: the provider does not answer, or not as it should.
        """
        if not code:
            raise NOT_TRUSTED
        answer = await self._exchange(begun, code)
        claims = await self._verify(answer, begun.nonce)
        if "email" not in claims:
            claims = {**claims, **await self._read_user(answer, claims["sub"])}
        email = claims.get("email")
        if not isinstance(email, str) or claims.get("email_verified") not in {True, "true"}:
            raise ForbiddenError(
                "the sign-in provider has not verified your e-mail address",
                remedy="Verify it there, then sign in again.",
            )
        email = email.strip().lower()
        name = claims.get("name")
        return Identity(email, name if isinstance(name, str) and name else email)

    async def _exchange(self, begun: Begun, code: str) -> Mapping[str, Any]:
        metadata, settings = await self._read_metadata(), self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "code_verifier": begun.verifier,
        }
        auth = None
        ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if "client_secret_basic" in ways:
            auth = (quote(settings.client_id, safe=""), quote(settings.client_secret, safe=""))
        else:
            form |= {"client_id": settings.client_id, "client_secret": settings.client_secret}
        status, answer = await self._ask("POST", metadata["token_endpoint"], data=form, auth=auth)
        if status >= 500:
            raise ProviderAwayError(f"the sign-in provider answers {status}")
        if status != 200:
            log.warning("sign_in_provider_refused", status=status, error=_word(answer.get("error")))
            raise NOT_TRUSTED
        return answer

    async def _verify(self, answer: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token (OpenID Connect Core 1.0, section 3.1.3.7)."""
        settings = self.settings
        options = {
            "iss": {"essential": True, "value": settings.issuer},
            "aud": {"essential": True, "value": settings.client_id},
        }
        params = {
            "nonce": nonce,
            "client_id": settings.client_id,
            "access_token": answer.get("access_token"),
        }
        try:
            token = await self._decode(str(answer.get("id_token", "")))
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(self.clock()), leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning(
                "sign_in_provider_not_trusted",
                error=type(error).__name__,
                claim=_word(getattr(error, "claim", None)),
            )
            raise NOT_TRUSTED from None
        return dict(claims)

    async def _decode(self, text: str) -> jwt.Token:
        keys = await self._read_keys(KEPT_SECONDS)
        try:
            return jwt.decode(text, keys, algorithms=ALGORITHMS)
        except (InvalidKeyIdError, ValueError):
            keys = await self._read_keys(KEYS_AGAIN_SECONDS)
            return jwt.decode(text, keys, algorithms=ALGORITHMS)

    async def _read_user(self, answer: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """Return the claims of the UserInfo endpoint, which are the token's person's only."""
        endpoint = (await self._read_metadata()).get("userinfo_endpoint")
        if not endpoint:
            return {}
        bearer = {"authorization": f"Bearer {answer.get('access_token')}"}
        status, user = await self._ask("GET", endpoint, headers=bearer)
        if status != 200 or user.get("sub") != subject:
            raise NOT_TRUSTED
        return user

    async def _read_metadata(self) -> dict[str, Any]:
        read_at, metadata = self._metadata
        if metadata and self.clock() - read_at < KEPT_SECONDS:
            return metadata
        url = get_well_known_url(self.settings.issuer, external=True)
        status, metadata = await self._ask("GET", url)
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        if status != 200 or metadata.get("issuer") != self.settings.issuer:
            raise ProviderAwayError("the sign-in provider does not describe itself as it should")
        if not all(self._is_safe(metadata.get(name)) for name in names):
            raise ProviderAwayError("the sign-in provider names addresses without TLS")
        self._metadata = (self.clock(), metadata)
        return metadata

    async def _read_keys(self, kept_seconds: float) -> KeySet:
        read_at, keys = self._keys
        if keys is not None and self.clock() - read_at < kept_seconds:
            return keys
        status, answer = await self._ask("GET", (await self._read_metadata())["jwks_uri"])
        if status != 200:
            raise ProviderAwayError("the sign-in provider shows no keys")
        keys = KeySet.import_key_set(answer)  # type: ignore[arg-type]
        self._keys = (self.clock(), keys)
        return keys

    async def _ask(self, method: str, url: str, **request: Any) -> tuple[int, dict[str, Any]]:
        """Return the status, and the JSON object; an empty one if the answer is none."""
        try:
            async with (
                httpx2.AsyncClient(timeout=PATIENCE_SECONDS, verify=tls_context()) as client,
                client.stream(method, url, headers=request.pop("headers", {}), **request) as answer,
            ):
                body = b""
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise ProviderAwayError("the sign-in provider's answer is too large")
        except httpx2.HTTPError as error:
            log.warning("sign_in_provider_away", error=type(error).__name__)
            raise ProviderAwayError from None
        try:
            found = json.loads(body)
        except ValueError:
            found = {}
        return answer.status_code, found if isinstance(found, dict) else {}

    def _is_safe(self, url: object) -> bool:
        """Return whether an address has TLS; a provider without TLS is on this machine."""
        scheme = urlsplit(url).scheme if isinstance(url, str) else ""
        return scheme in {"https", urlsplit(self.settings.issuer).scheme}

    def _seal(self, begun: Begun) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        text = json.dumps(asdict(begun)).encode()
        return (nonce + AESGCM(self._cookie_key).encrypt(nonce, text, None)).hex()

    @property
    def _cookie_key(self) -> bytes:
        derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"wharfinger sign-in")
        return derived.derive(self.settings.proof + self.settings.client_secret.encode())


def _word(text: object) -> str | None:
    """Return a short word of the provider for the log."""
    return text[:50] if isinstance(text, str) and text.isprintable() else None
