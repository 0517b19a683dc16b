"""An Engine's words without what must not be shown.

Tokens stand in queries of URLs (``_state`` of an upload, presigned storage), user names in a
realm's ``account=``, and a registry may send back whatever it was sent.
"""

import re

from worker.login import Login

READ_AT_MOST = 8_000
"""A registry's error page can be long; its first signs are enough."""

_USER_INFO = re.compile(r"(\w+://)[^\s/@\"']+@")
_QUERY = re.compile(r"(\w+://[^\s\"'<>?]+)\?[^\s\"'<>]*")
_FIELD = re.compile(
    r"(?i)\b(_state|account|\w*token|password|secret|sig(?:nature)?|x-amz-[\w-]+)(=|\":\s*\")"
    r"[^\s&\"]+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic) [a-z0-9+/=._~-]{8,}")
_WEB_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)*")


def redact(words: str, login: Login | None = None) -> str:
    """``words`` on one line, without the login's secret and without anything that carries one."""
    secret = login.secret.get_secret_value() if login else ""
    text = (words.replace(secret, "***") if secret else words)[:READ_AT_MOST]
    text = _USER_INFO.sub(r"\1", " ".join(text.split()))
    text = _FIELD.sub(r"\1\2***", _QUERY.sub(r"\1", text))
    return _WEB_TOKEN.sub("***", _SCHEME.sub(r"\1 ***", text))
