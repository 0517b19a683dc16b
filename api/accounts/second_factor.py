"""One-time passwords of a second factor (RFC 6238), from an authenticator app."""

import time

import pyotp

from api.errors import CodeNeededError, WrongSignInError
from shared.database import Pool

ISSUER = "Wharfinger"
STEP_SECONDS = 30

USE = "SELECT user_use_code(%s, %s, %s) AS used"


def make_factor() -> str:
    """Make the secret of a second factor."""
    return pyotp.random_base32()


def factor_url(secret: str, email: str) -> str:
    """Return the ``otpauth:`` URL that an authenticator app reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def _now() -> float:
    return time.time()


def find_step(secret: str, code: str) -> int:
    """Return the number of the code's 30 seconds: the current ones, or those beside them.

    Raises:
        CodeNeededError: none was given.
        WrongSignInError: it is wrong.
    """
    given = "".join(code.split())
    if not given:
        raise CodeNeededError
    step = int(_now() // STEP_SECONDS)
    for near in (step, step - 1, step + 1):
        if _is_code(secret, given, near):
            return near
    raise WrongSignInError


async def use_step(pool: Pool, user_id: str, proof: bytes, step: int) -> None:
    """Use a code, which is accepted once by all API processes, and none before it afterwards.

    Raises:
        WrongSignInError: it was used, or the proof of the password is wrong.
    """
    async with pool.connection() as connection:
        row = await (await connection.execute(USE, (user_id, proof, step))).fetchone()
    if row is None or not row["used"]:
        raise WrongSignInError


def _is_code(secret: str, code: str, step: int) -> bool:
    try:
        return pyotp.TOTP(secret).verify(code, for_time=step * STEP_SECONDS)
    except ValueError:
        return False  # the secret is none
