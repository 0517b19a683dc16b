"""Fields that name sources: a repository's URL, a branch, a commit, and paths inside it."""

import re
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from api.errors import InvalidSourceError
from api.fields.hosts import LOOPBACK, require_hostname
from shared.errors import InvalidInputError
from shared.networks import RegistryNetworks
from shared.ssh.address import SshAddress, is_ssh

DEFAULT_PORTS = {"https": 443, "http": 80}
MAX_URL_CHARACTERS = 500
MAX_PATH_CHARACTERS = 500
MAX_HOST_KEY_CHARACTERS = 20_000

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]+")
_COMMIT = r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$"
_BAD_REF = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^@$|^[-/]|/$|(?:^|/)\.|\.lock(?:/|$)|\.(?:/|$)"
)
"""Forbidden by git-check-ref-format(1); also a leading dash, which would be an option."""


@dataclass(frozen=True)
class GitUrl:
    """``host`` is ``name[:port]`` in lower case, without the scheme's default port.

    ``user`` is that of a URL of SSH.
    """

    scheme: str
    host: str
    user: str = ""

    @property
    def hostname(self) -> str:
        return self.host.partition(":")[0]

    @property
    def is_ssh(self) -> bool:
        return self.scheme == "ssh"

    @property
    def is_private(self) -> bool:
        """Return whether the connection to this URL is encrypted or local."""
        return self.is_ssh or self.scheme == "https" or self.hostname in {LOOPBACK, "localhost"}


def parse_git_url(url: str, networks: RegistryNetworks) -> GitUrl:
    """Parse a repository's URL; the addresses of its host are checked when it is fetched.

    Raises:
        InvalidSourceError: neither ``http[s]://host[:port]/path`` nor a URL of SSH: another scheme,
            a local path, user info, a query, a fragment.
        RefusedNetworkError: an address that is not allowed for repositories.
    """
    if is_ssh(url):
        return _parse_ssh(url, networks)
    scheme, separator, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        raise InvalidSourceError(
            "the repository's URL is not https, http or SSH",
            remedy="Give its https:// URL, and customGitToken if it is private, or git@host:path.",
        )
    if "@" in authority:
        raise InvalidSourceError(
            "the repository's URL contains user info",
            remedy="Give customGitUsername and customGitToken as fields.",
        )
    if not _PATH.fullmatch(f"/{path}") or ".." in path.split("/"):
        raise InvalidSourceError(
            "the repository's URL has no path, or one with unsupported characters"
        )
    found = GitUrl(scheme.lower(), _canonical(scheme.lower(), authority.lower()))
    require_hostname(found.hostname, networks)
    return found


def _parse_ssh(url: str, networks: RegistryNetworks) -> GitUrl:
    try:
        address = SshAddress.parse(url)
    except InvalidInputError as error:
        raise InvalidSourceError(error.message, remedy=error.remedy) from None
    require_hostname(address.hostname, networks)
    return GitUrl("ssh", address.host, address.user)


def _canonical(scheme: str, authority: str) -> str:
    if not _HOST.fullmatch(authority) or len(authority) > 253:
        raise InvalidSourceError("the repository's URL has an invalid host")
    parts = urlsplit(f"{scheme}://{authority}")
    try:
        port = parts.port
    except ValueError:
        raise InvalidSourceError("the repository's URL has an invalid port") from None
    return str(parts.hostname) if port in {None, DEFAULT_PORTS[scheme]} else authority


def clean_path(text: str) -> str:
    """Normalize a relative path: no dots, no doubled slashes, no slashes at the ends.

    Raises:
        ValueError: it leads outside, looks like an option, or has unsupported characters.
    """
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError("Invalid path: must not lead out of the sources")
    if not text.isprintable() or "\\" in text or text.startswith("-"):
        raise ValueError("Invalid path: contains a character that is not supported")
    if parts and parts[0].startswith("-"):
        raise ValueError("Invalid path: must not begin with a dash")
    return "/".join(parts)


def _require_branch(text: str) -> str:
    if _BAD_REF.search(text):
        raise ValueError("Invalid string: not the name of a branch or a tag")
    return text


def _build_path(text: str | None) -> str:
    return f"/{clean_path(text or '')}"


def _context_path(text: str | None) -> str:
    return clean_path(text or "") or "."


def _dockerfile(text: str | None) -> str:
    if text is not None and text.startswith("/"):
        raise ValueError(
            "Invalid path: must be relative to the build path, and not begin with a slash"
        )
    return clean_path(text or "") or "Dockerfile"


_Path = Field(max_length=MAX_PATH_CHARACTERS)

HostKeyText = Annotated[str, Field(min_length=1, max_length=MAX_HOST_KEY_CHARACTERS)]
GitAddress = Annotated[str, Field(min_length=1, max_length=MAX_URL_CHARACTERS)]
Branch = Annotated[str, Field(min_length=1, max_length=250), AfterValidator(_require_branch)]
Commit = Annotated[str, Field(pattern=_COMMIT)]
BuildPath = Annotated[str | None, _Path, AfterValidator(_build_path)]
"""From the repository's root, with a leading slash, as in Dokploy."""
ContextPath = Annotated[str | None, _Path, AfterValidator(_context_path)]
DockerfilePath = Annotated[str | None, _Path, AfterValidator(_dockerfile)]
