"""Addresses of git repositories behind SSH: ``ssh://git@host:port/path``, ``git@host:path``."""

import re
from dataclasses import dataclass, replace
from typing import Self

from shared.errors import InvalidInputError

DEFAULT_PORT = 22
MAX_HOST_CHARACTERS = 253
SCHEME = "ssh://"

_USER = r"(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"(?P<hostname>{_LABEL}(?:\.{_LABEL})*)"
# No character that means something to a shell or to ssh, and no leading dash.
_PATH = r"(?P<path>[A-Za-z0-9_./~][A-Za-z0-9_./~+,=@%-]*)"
_URL = re.compile(rf"ssh://{_USER}@{_HOST}(?::(?P<port>[0-9]{{1,5}}))?(?=/){_PATH}")
_SHORT = re.compile(rf"{_USER}@{_HOST}:{_PATH}")
_REMEDY = "Give ssh://git@host/path.git or git@host:path.git."


@dataclass(frozen=True)
class SshAddress:
    """A repository behind SSH; ``path`` is as the git server gets it, relative to a home or not."""

    user: str
    hostname: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse either form.

        Raises:
            InvalidInputError: neither form, or a part with characters that are not supported.
        """
        is_url = text.lower().startswith(SCHEME)
        text = SCHEME + text[len(SCHEME) :] if is_url else text
        found = (_URL if is_url else _SHORT).fullmatch(text)
        if found is None or len(found["hostname"]) > MAX_HOST_CHARACTERS:
            raise InvalidInputError("the repository's SSH URL is not valid", remedy=_REMEDY)
        path = found["path"]
        if is_url:
            path = path.removeprefix("/") if path.startswith("/~") else path
        port = int((is_url and found["port"]) or DEFAULT_PORT)
        if ".." in path.split("/") or not path.strip("/") or not 0 < port <= 65535:
            raise InvalidInputError("the path or port of the SSH URL is not valid", remedy=_REMEDY)
        if is_url and "%" in path:
            raise InvalidInputError("the path of the SSH URL has a '%'", remedy=_REMEDY)
        return cls(found["user"], found["hostname"].lower(), port, path.rstrip("/"))

    def __str__(self) -> str:
        """Return the short form if it says everything, else the URL."""
        if self.port == DEFAULT_PORT:
            return f"{self.user}@{self.hostname}:{self.path}"
        begin = "/" if self.path.startswith("~") else ""
        return f"{SCHEME}{self.user}@{self.host}{begin}{self.path}"

    @property
    def host(self) -> str:
        """Return ``hostname[:port]`` without SSH's own port."""
        return self.hostname if self.port == DEFAULT_PORT else f"{self.hostname}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Return user, host name and port, to which a deploy key is bound."""
        return self.user, self.hostname, self.port

    def with_path(self, path: str) -> Self:
        return replace(self, path=path)


def is_ssh(text: str) -> bool:
    """Return whether a repository's URL has one of the forms of SSH, be it valid or not."""
    scheme, separator, _ = text.partition("://")
    if separator:
        return scheme.lower() == "ssh"
    return ":" in text.partition("/")[0]
