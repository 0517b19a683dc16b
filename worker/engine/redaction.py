"""Remove secrets from an Engine's messages.

Queries of URLs contain tokens (``_state`` of an upload, presigned storage), a realm's ``account=``
contains the user name, and a registry may return anything that it received.
"""

import re

from worker.login import Login

MAX_INPUT_CHARACTERS = 8_000
"""The maximum length of a message: a registry's error page can be long."""

_USER_INFO = re.compile(r"(\w+://)[^\s/@\"']+@")
_QUERY = re.compile(r"(\w+://[^\s\"'<>?]+)\?[^\s\"'<>]*")
_FIELD = re.compile(
    r"(?i)\b(_state|account|\w*token|password|secret|sig(?:nature)?|x-amz-[\w-]+)(=|\":\s*\")"
    r"[^\s&\"]+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic) [a-z0-9+/=._~-]{8,}")
_WEB_TOKEN = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)*")


def redact(text: str, login: Login | None = None) -> str:
    """Return ``text`` on one line, without the login's secret and without tokens."""
    secret = login.secret.get_secret_value() if login else ""
    text = (text.replace(secret, "***") if secret else text)[:MAX_INPUT_CHARACTERS]
    text = _USER_INFO.sub(r"\1", " ".join(text.split()))
    text = _FIELD.sub(r"\1\2***", _QUERY.sub(r"\1", text))
    return _WEB_TOKEN.sub("***", _SCHEME.sub(r"\1 ***", text))
