"""One-time passwords as a second factor (RFC 6238), of any authenticator app."""

import time
from collections import OrderedDict

import pyotp

from api.errors import CodeNeededError, WrongSignInError

ISSUER = "Wharfinger"
STEP_SECONDS = 30
REMEMBERED = 10_000

_used: OrderedDict[tuple[str, int], None] = OrderedDict()
"""The codes that this process accepted: a code is good for one sign-in."""


def make_factor() -> str:
    """Make the secret of a second factor."""
    return pyotp.random_base32()


def factor_url(secret: str, email: str) -> str:
    """Return the ``otpauth:`` URL that an authenticator app reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def _now() -> float:
    return time.time()


def require_code(user_id: str, secret: str, code: str) -> None:
    """Check a code, of the current 30 seconds or of those beside it; each is accepted once.

    Raises:
        CodeNeededError: none was given.
        WrongSignInError: it is wrong, or was used.
    """
    given = "".join(code.split())
    if not given:
        raise CodeNeededError
    step = int(_now() // STEP_SECONDS)
    for near in (step, step - 1, step + 1):
        key = (user_id, near)
        if _is_code(secret, given, near) and key not in _used:
            _used[key] = None
            while len(_used) > REMEMBERED:
                _used.popitem(last=False)
            return
    raise WrongSignInError


def _is_code(secret: str, code: str, step: int) -> bool:
    try:
        return pyotp.TOTP(secret).verify(code, for_time=step * STEP_SECONDS)
    except ValueError:
        return False  # the secret is none
