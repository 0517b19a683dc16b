"""Image references and registry hosts, as Docker reads them (distribution's reference grammar).

Only this module parses registries, repositories and tags, so that the checked host, the host of a
credential and the host that the Engine contacts are the same.
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
"""Paths that are ignored after a host; they are often copied from Docker's configuration."""

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

    ``warnings`` are sentences for the next test's report: corrected or doubtful parts.
    """

    name: str
    warnings: tuple[str, ...] = ()

    @property
    def api_host(self) -> str:
        """Return the host of the distribution API: the name itself, except for Docker Hub."""
        return HUB_API_HOST if self.name == HUB else self.name

    @property
    def hostname(self) -> str:
        """Return the API host without its port."""
        return self.api_host.partition(":")[0]

    @property
    def port(self) -> int | None:
        """Return the given port; ``None`` means 443."""
        text = self.api_host.partition(":")[2]
        return int(text) if text else None

    @property
    def login_key(self) -> str:
        """Return the name under which Docker stores a login for it."""
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
        """Return registry and repository, the Engine's ``repo``."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """Return the reference in a manifest's URL: the digest if there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def tagged(self) -> Self:
        """Return the reference; without tag and digest, with Docker's default tag."""
        return self if self.tag or self.digest else replace(self, tag="latest")

    def with_digest(self, digest: str) -> Self:
        return replace(self, digest=digest)


def parse_registry(url: str) -> RegistryHost:
    """Return the canonical host of a registry URL, in any common spelling.

    The scheme, a trailing slash, ``/v1``, ``/v2`` and a redundant ``:443`` are removed; upper case
    becomes lower case. All names of Docker Hub, and an empty text, become ``docker.io``.

    Raises:
        InvalidReferenceError: user info, a path, a query, an IPv6 literal, an invalid host or port,
            or a single word, which Docker takes for a Docker Hub user.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise InvalidReferenceError(
            f"the registry URL has more than {MAX_URL_CHARACTERS} characters"
        )
    scheme, rest = _split_scheme(url.strip())
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise InvalidReferenceError(
            "the registry URL contains user info", remedy="Give username and password as fields."
        )
    host = _canonical_host(authority, scheme)
    name = HUB if host in HUB_SPELLINGS else host
    if path.strip("/") not in API_PATHS:
        raise InvalidReferenceError(
            f"the registry URL has a path after {host}",
            remedy="Give only host[:port]; put a namespace into imagePrefix.",
        )
    return RegistryHost(name, tuple(_warnings(name)))


def names_plain_http(url: str) -> bool:
    """Return whether a registry URL begins with ``http://``."""
    return url.strip().lower().startswith("http://")


def parse_reference(text: str) -> Reference:
    """Parse an image reference as Docker does: no host means Docker Hub, one word ``library/``.

    ``app`` → ``docker.io/library/app``; no default tag is added.

    Raises:
        InvalidReferenceError: invalid, for example upper-case letters in the repository.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidReferenceError(
            "64 hexadecimal characters are an image's id, not its name",
            remedy="Give the image's name, for example team/app:1.0.",
        )
    rest, _, digest = text.partition("@")
    if digest or text.endswith("@"):
        require_digest(digest)
    head, slash, tail = rest.partition("/")
    name, colon, port = head.partition(":")
    if slash and colon and "." not in name and name != "localhost" and not port.isdigit():
        raise InvalidReferenceError(
            f"the tag of {rest[:130]!r} contains a slash",
            remedy="Use letters, digits, dots, dashes and underscores in a tag.",
        )
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
    """Make the reference of image ``name`` in a registry: prefix and name, the host only once.

    A name that starts with the registry's own host is complete; one with another host is refused.
    Without a prefix, Docker Hub's namespace is the username.

    Raises:
        InvalidReferenceError: prefix or name of another registry, or invalid.
    """
    host = parse_registry(registry_url)
    rest, _, digest = name.partition("@")
    path, colon, own_tag = _split_tag(rest)
    if colon and tag and own_tag != tag:
        raise InvalidReferenceError(f"the name {name!r} has another tag than {tag!r}")
    complete = _without_host(host, path, part="image name")
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


def make_attachments_tag(digest: str) -> str:
    """Make the tag ``sha256-<hex>`` of an image's digest, in the image's own repository.

    Without a suffix, it names the index of the image's referrers (OCI distribution 1.1, "Referrers
    Tag Schema"). With ``.sig``, ``.att`` or ``.sbom``, it is a tag of cosign.
    """
    return digest.replace(":", "-", 1)


def parse_prefix(host: RegistryHost, image_prefix: str | None) -> str:
    """Return a prefix's repository path, without the host and without outer slashes.

    ``ghcr.io/myorg/`` on ``ghcr.io`` → ``myorg``; ``mycompany/`` → ``mycompany``; nothing → ``""``.

    Raises:
        InvalidReferenceError: it names another registry, or is not a repository path.
    """
    text = re.sub(r"^https?://", "", (image_prefix or "").strip(), flags=re.IGNORECASE)
    text = re.sub(r"/+", "/", text).strip("/")
    if not text:
        return ""
    inside = _without_host(host, text + "/", part="prefix")
    path = (text if inside is None else inside).strip("/").lower()
    if path:
        require_repository(path)
    return path


def require_repository(text: str) -> None:
    """Raise `InvalidReferenceError` unless ``text`` is a repository path."""
    if len(text) > MAX_REPOSITORY_CHARACTERS:
        raise InvalidReferenceError(
            f"the repository name has more than {MAX_REPOSITORY_CHARACTERS} characters"
        )
    if text != text.lower():
        raise InvalidReferenceError(f"the repository name must be lower-case: {text!r}")
    if not _REPOSITORY.fullmatch(text):
        raise InvalidReferenceError(f"not a repository name: {text!r}")


def require_tag(text: str) -> None:
    """Raise `InvalidReferenceError` unless ``text`` is a tag."""
    if not _TAG.fullmatch(text):
        raise InvalidReferenceError(f"not a tag: {text[:130]!r}")


def require_digest(text: str) -> None:
    """Raise `InvalidReferenceError` unless ``text`` is a ``sha256:`` digest."""
    if not _DIGEST.fullmatch(text):
        raise InvalidReferenceError(f"not a digest: {text[:80]!r}")


def _split_scheme(url: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "https", url
    if scheme.lower() not in {"http", "https"}:
        raise InvalidReferenceError(
            f"the registry URL's scheme is not http or https: {scheme[:20]!r}"
        )
    return scheme.lower(), rest


def _canonical_host(authority: str, scheme: str) -> str:
    text = authority.lower()
    if text.startswith("["):
        raise InvalidReferenceError(
            "Docker does not support an IPv6 address as a registry", remedy="Use a DNS name."
        )
    if not text:
        return text
    match = _HOST.fullmatch(text)
    if not match or len(match["name"]) > 253:
        raise InvalidReferenceError(f"not a registry host: {authority[:80]!r}")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        raise InvalidReferenceError(f"not a port: {port}")
    # A single word keeps its :443: without it Docker does not recognize a host.
    is_redundant = port == 443 and scheme == "https" and _looks_like_host(match["name"])
    is_default = port is None or is_redundant
    text = match["name"] if is_default else f"{match['name']}:{port}"
    if not _looks_like_host(text):
        raise InvalidReferenceError(
            f"Docker takes {text!r} for a Docker Hub user, not for a registry",
            remedy="Give the registry's full name, or add its port.",
        )
    return text


def _with_library(registry: str, repository: str) -> str:
    return (
        f"{HUB_LIBRARY}/{repository}" if registry == HUB and "/" not in repository else repository
    )


def _require_length(reference: Reference) -> Reference:
    # Engines before 23 include the registry's name in the limit.
    if len(reference.name) > MAX_REPOSITORY_CHARACTERS:
        raise InvalidReferenceError(
            f"registry and repository have more than {MAX_REPOSITORY_CHARACTERS} characters"
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
    """Split into path, colon and tag; a colon before the last slash belongs to a port."""
    head, slash, last = text.rpartition("/")
    component, colon, tag = last.partition(":")
    return f"{head}{slash}{component}", colon, tag


def _without_host(host: RegistryHost, path: str, *, part: str) -> str | None:
    """Return the part of ``path`` after its host; ``None`` if it does not start with a host."""
    head, slash, rest = path.partition("/")
    if not slash or not _looks_like_host(head) or not _is_host(head):
        return None
    named = parse_registry(head).name
    if named != host.name:
        raise InvalidReferenceError(
            f"the {part} belongs to another registry: {named} is not {host.name}"
        )
    return rest


def _is_host(component: str) -> bool:
    # Docker takes "MyOrg" for a host, because of its upper case; users mean a namespace.
    return "." in component or ":" in component or component.lower() == "localhost"


def _warnings(name: str) -> list[str]:
    found = []
    account = re.fullmatch(r"(\d+)\.dkr[.-]ecr.*", name)
    if account and len(account[1]) != 12:
        found.append(f"An AWS account has 12 digits; this host has {len(account[1])}.")
    return found
