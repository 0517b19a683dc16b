"""Derive secrets from a password with argon2id (RFC 9106); none of them is stored.

The database holds the SHA-256 of the proof, so a dump gives no more than any store of argon2id.
"""

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from api.errors import BusyError
from shared.errors import InvalidInputError

MIN_CHARACTERS = 10
MAX_CHARACTERS = 1024
SALT_BYTES = 16
NONCE_BYTES = 12
MAX_WAITING = 32

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="passwords")
"""Each derivation takes 64 MiB and some tens of milliseconds of processor time."""

Password = Annotated[
    SecretStr, StringConstraints(min_length=MIN_CHARACTERS, max_length=MAX_CHARACTERS)
]


class Derivation(BaseModel):
    """The parameters of argon2id; by default the second choice of RFC 9106, section 4."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    time_cost: int = Field(default=3, ge=1, le=20)
    memory_kib: int = Field(default=64 * 1024, ge=1024, le=1024 * 1024)
    parallelism: int = Field(default=4, ge=1, le=16)


@dataclass(frozen=True)
class Derived:
    """The secrets of a password: the proof for the database, the key of the second factor."""

    proof: bytes
    factor_key: bytes

    def seal_factor(self, secret: str) -> bytes:
        """Encrypt the secret of one-time passwords."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self.factor_key).encrypt(nonce, secret.encode(), None)

    def open_factor(self, sealed: bytes) -> str | None:
        """Decrypt the secret; ``None`` if the password is another one."""
        nonce, content = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return AESGCM(self.factor_key).decrypt(nonce, content, None).decode()
        except InvalidTag:
            return None


def require_length(password: str) -> None:
    """Raise `InvalidInputError` for a new password that is too short or too long."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise InvalidInputError(
            f"the password does not have {MIN_CHARACTERS} to {MAX_CHARACTERS} characters",
            remedy="Choose another one; several words are easy to keep in mind.",
        )


def make_salt() -> bytes:
    return secrets.token_bytes(SALT_BYTES)


async def derive(password: SecretStr, salt: bytes, derivation: Any = None) -> Derived:
    """Derive the secrets of a password, in a thread, two at a time at most.

    Raises:
        BusyError: too many wait for it.
    """
    parameters = Derivation.model_validate(derivation or {})
    if _THREADS._work_queue.qsize() >= MAX_WAITING:  # noqa: SLF001 - it has no other way to ask
        raise BusyError("the API checks too many passwords at the moment")
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, _derive, password, salt, parameters)


def _derive(password: SecretStr, salt: bytes, derivation: Derivation) -> Derived:
    raw = hash_secret_raw(
        password.get_secret_value().encode(),
        salt,
        time_cost=derivation.time_cost,
        memory_cost=derivation.memory_kib,
        parallelism=derivation.parallelism,
        hash_len=32,
        type=Type.ID,
    )
    return Derived(_expand(raw, b"wharfinger proof"), _expand(raw, b"wharfinger second factor"))


def _expand(raw: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(raw)
