"""A deploy hook's two secrets: the token in its URL, and what the sender proves itself with.

Of the token only the SHA-256 is kept; the other one is kept under a key that only the token gives
(HKDF-SHA256, RFC 5869; AES-256-GCM). So the database opens neither, and the API needs no vault.
"""

import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
INFO = b"wharfinger deploy hook v1"


def seal_secret(secret: str, token: str, hook_id: str) -> bytes:
    """The secret for a row: it opens with this token, for this hook."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(token).encrypt(nonce, secret.encode(), hook_id.encode())


def open_secret(sealed: bytes, token: str, hook_id: str) -> str:
    """Raises `cryptography.exceptions.InvalidTag`: for another token or hook, or damaged."""
    nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    return _cipher(token).decrypt(nonce, encrypted, hook_id.encode()).decode()


def _cipher(token: str) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=INFO)
    return AESGCM(derived.derive(token.encode()))
