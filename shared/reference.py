"""Image references and registry hosts, as Docker reads them (distribution's reference grammar).

Everything that turns text into a registry, a repository or a tag goes through this module, so that
a host that was checked, a host that a credential is bound to and a host that the Engine contacts
are the same one.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from shared.errors import InvalidReferenceError

HUB = "docker.io"
HUB_API_HOST = "registry-1.docker.io"
HUB_LOGIN_KEY = "https://index.docker.io/v1/"
HUB_SPELLINGS = frozenset(
    {HUB, "index.docker.io", HUB_API_HOST, "registry.hub.docker.com", "hub.docker.com", ""}
)
HUB_LIBRARY = "library"
API_PATHS = frozenset({"", "v1", "v2"})
"""What may follow a host: people copy it from Docker's own configuration, and it means nothing."""

MAX_URL_CHARACTERS = 300
MAX_REPOSITORY_CHARACTERS = 255

_LABEL = r"(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])"
_HOST = re.compile(rf"(?P<name>{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RegistryHost:
    """A registry's canonical name: ``docker.io``, ``ghcr.io``, ``registry.example.com:5000``.

    ``warnings`` are sentences for the next test: things that were put right or look doubtful.
    """

    name: str
    warnings: tuple[str, ...] = ()

    @property
    def api_host(self) -> str:
        """Where the distribution API is: the name itself but for Docker Hub."""
        return HUB_API_HOST if self.name == HUB else self.name

    @property
    def hostname(self) -> str:
        """The API host without its port."""
        return self.api_host.partition(":")[0]

    @property
    def port(self) -> int | None:
        """The port that was written; none means 443."""
        text = self.api_host.partition(":")[2]
        return int(text) if text else None

    @property
    def login_key(self) -> str:
        """The name under which Docker keeps a login for it."""
        return HUB_LOGIN_KEY if self.name == HUB else self.name


@dataclass(frozen=True)
class Reference:
    """``registry/repository[:tag][@digest]``."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository: what the Engine calls ``repo``."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """The name that a manifest is requested by: the digest if there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def tagged(self) -> Self:
        """Itself; where it has neither tag nor digest, with the tag that Docker then takes."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    def with_digest(self, digest: str) -> Self:
        return replace(self, digest=digest)


def parse_registry(url: str) -> RegistryHost:
    """The canonical host of a registry URL, in any of the spellings that people use.

    A scheme, a trailing slash, ``/v1`` and ``/v2`` are dropped, upper case is lowered, ``:443`` of
    https goes where Docker can miss it; all of Docker Hub's names, and nothing at all, are
    ``docker.io``.

    Raises:
        InvalidReferenceError: user info, a path, a query, an IPv6 literal, a bad host or port, or
            a single word that Docker would take for a Docker Hub user.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidReferenceError(f"the registry URL has more than {MAX_URL_CHARACTERS} signs")
    scheme, rest = _split_scheme(url.strip())
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise InvalidReferenceError(
            "the registry URL holds user info", remedy="Give username and password as fields."
        )
    host = _canonical_host(authority, scheme)
    name = HUB if host in HUB_SPELLINGS else host
    if path.strip("/") not in API_PATHS:
        raise InvalidReferenceError(
            f"the registry URL has a path after {host}",
            remedy="Give host[:port] alone; a namespace goes into imagePrefix.",
        )
    return RegistryHost(name, tuple(_doubts(name)))


def parse_reference(text: str) -> Reference:
    """Read an image reference as Docker does: no host means Docker Hub, one word ``library/``.

    ``app`` → ``docker.io/library/app``; a tag is not made up where neither tag nor digest stands.

    Raises:
        InvalidReferenceError: not the grammar, upper-case letters in the repository included.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReferenceError("64 hexadecimal signs are an image's id, not its name")
    rest, _, digest = text.partition("@")
    if digest or text.endswith("@"):
        require_digest(digest)
    head, slash, tail = rest.partition("/")
    if slash and _looks_like_host(head):
        registry, remainder = parse_registry(head).name, tail
    else:
        registry, remainder = HUB, rest
    repository, colon, tag = remainder.partition(":")
    if colon:
        require_tag(tag)
    repository = _with_library(registry, repository)
    require_repository(repository)
    return _require_length(Reference(registry, repository, tag or None, digest or None))


def make_reference(
    registry_url: str, image_prefix: str | None, name: str, *, username: str = "", tag: str = ""
) -> Reference:
    """Where an image called ``name`` lives in a registry: prefix and name, never the host twice.

    A name that starts with the registry's own host is taken as complete, one that starts with
    another host is refused. Without a prefix, Docker Hub's namespace is the username.

    Raises:
        InvalidReferenceError: prefix or name of another registry, or not the grammar.
    """
    host = parse_registry(registry_url)
    rest, _, digest = name.partition("@")
    path, colon, own_tag = _split_tag(rest)
    if colon and tag and own_tag != tag:
        raise InvalidReferenceError(f"{name!r} names another tag than {tag!r}")
    complete = _without_host(host, path, what="image name")
    if complete is None:
        prefix = parse_prefix(host, image_prefix)
        namespace = prefix or (username.lower() if host.name == HUB and "/" not in path else "")
        complete = f"{namespace}/{path}" if namespace else path
    complete = _with_library(host.name, complete)
    require_repository(complete)
    if colon or tag:
        require_tag(own_tag if colon else tag)
    if digest or "@" in name:
        require_digest(digest)
    chosen = own_tag or tag or ("" if digest else "latest")
    return _require_length(Reference(host.name, complete, chosen or None, digest or None))


def parse_prefix(host: RegistryHost, image_prefix: str | None) -> str:
    """The repository path that a prefix stands for, without the host and without slashes around.

    ``ghcr.io/myorg/`` on ``ghcr.io`` → ``myorg``; ``mycompany/`` → ``mycompany``; nothing → ``""``.

    Raises:
        InvalidReferenceError: it names another registry, or is no repository path.
    """
    text = re.sub(r"^https?://", "", (image_prefix or "").strip(), flags=re.IGNORECASE)
    text = re.sub(r"/+", "/", text).strip("/")
    if not text:
        return ""
    inside = _without_host(host, text + "/", what="prefix")
    path = (text if inside is None else inside).strip("/").lower()
    if path:
        require_repository(path)
    return path


def require_repository(text: str) -> None:
    """Raises `InvalidReferenceError` unless ``text`` is a repository path."""
    if len(text) > MAX_REPOSITORY_CHARACTERS:
        raise InvalidReferenceError(
            f"a repository name has at most {MAX_REPOSITORY_CHARACTERS} signs"
        )
    if text != text.lower():
        raise InvalidReferenceError(f"repository name must be lower-case: {text!r}")
    if not _REPOSITORY.fullmatch(text):
        raise InvalidReferenceError(f"not a repository name: {text!r}")


def require_tag(text: str) -> None:
    """Raises `InvalidReferenceError` unless ``text`` is a tag."""
    if not _TAG.fullmatch(text):
        raise InvalidReferenceError(f"not a tag: {text[:130]!r}")


def require_digest(text: str) -> None:
    """Raises `InvalidReferenceError` unless ``text`` is a ``sha256:`` digest."""
    if not _DIGEST.fullmatch(text):
        raise InvalidReferenceError(f"not a digest: {text[:80]!r}")


def _split_scheme(url: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "https", url
    if scheme.lower() not in {"http", "https"}:
        raise InvalidReferenceError(f"a registry speaks http or https, not {scheme[:20]!r}")
    return scheme.lower(), rest


def _canonical_host(authority: str, scheme: str) -> str:
    text = authority.lower()
    if text.startswith("["):
        raise InvalidReferenceError(
            "Docker cannot use an IPv6 literal as a registry", remedy="Give it a DNS name."
        )
    if not text:
        return text
    match = _HOST.fullmatch(text)
    if not match or len(match["name"]) > 253:
        raise InvalidReferenceError(f"not a registry host: {authority[:80]!r}")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise InvalidReferenceError(f"not a port: {port}")
    # A single word keeps its :443, without which Docker would not take it for a host.
    can_go = port == 443 and scheme == "https" and _looks_like_host(match["name"])
    is_default = port is None or can_go
    text = match["name"] if is_default else f"{match['name']}:{port}"
    if not _looks_like_host(text):
        raise InvalidReferenceError(
            f"Docker would take {text!r} for a Docker Hub user, not for a registry",
            remedy="Give the registry's full name, or add its port.",
        )
    return text


def _with_library(registry: str, repository: str) -> str:
    return (
        f"{HUB_LIBRARY}/{repository}" if registry == HUB and "/" not in repository else repository
    )


def _require_length(reference: Reference) -> Reference:
    # Engines before 23 count the registry's name in.
    if len(reference.name) > MAX_REPOSITORY_CHARACTERS:
        raise InvalidReferenceError(
            f"registry and repository together have at most {MAX_REPOSITORY_CHARACTERS} signs"
        )
    return reference


def _looks_like_host(component: str) -> bool:
    return (
        "." in component
        or ":" in component
        or component == "localhost"
        or component != component.lower()
    )


def _split_tag(text: str) -> tuple[str, str, str]:
    """Path, colon, tag: a colon counts only behind the last slash, before it it is a port's."""
    head, slash, last = text.rpartition("/")
    component, colon, tag = last.partition(":")
    return f"{head}{slash}{component}", colon, tag


def _without_host(host: RegistryHost, path: str, *, what: str) -> str | None:
    """Return the part of ``path`` after its host; ``None`` if it starts with no host."""
    head, slash, rest = path.partition("/")
    if not slash or not _looks_like_host(head) or not _is_host(head):
        return None
    named = parse_registry(head).name
    if named != host.name:
        raise InvalidReferenceError(
            f"the {what} belongs to another registry: {named} is not {host.name}"
        )
    return rest


def _is_host(component: str) -> bool:
    # "MyOrg" is upper-case and so a host to Docker; people mean a namespace by it.
    return "." in component or ":" in component or component.lower() == "localhost"


def _doubts(name: str) -> list[str]:
    doubts = []
    account = re.fullmatch(r"(\d+)\.dkr[.-]ecr.*", name)
    if account and len(account[1]) != 12:
        doubts.append(f"An AWS account has 12 digits; this host has {len(account[1])}.")
    return doubts
