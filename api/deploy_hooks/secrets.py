"""A deploy hook's two secrets: the token in its URL, and the secret that signs requests.

Only a hash of the token is stored. The signing secret is encrypted with a key derived from the
token (HKDF-SHA256, RFC 5869; AES-256-GCM). So neither can be read from the database, and the API
needs no vault.
"""

import secrets

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
INFO = b"wharfinger deploy hook v1"


def seal_secret(secret: str, token: str, hook_id: str) -> bytes:
    """Encrypt the secret for the hook's row; only this token decrypts it, for this hook only."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + _cipher(token).encrypt(nonce, secret.encode(), hook_id.encode())


def open_secret(sealed: bytes, token: str, hook_id: str) -> str:
    """Decrypt the secret.

    Raises:
        cryptography.exceptions.InvalidTag: another token or hook, or damaged data.
    """
    nonce, encrypted = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    return _cipher(token).decrypt(nonce, encrypted, hook_id.encode()).decode()


def _cipher(token: str) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=INFO)
    return AESGCM(derived.derive(token.encode()))
