"""Read the submodules of a commit and their URLs (gitmodules(5))."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.ssh.address import SshAddress, is_ssh
from worker.builds.sources.git.command import Git, GitError

GITMODULES = ".gitmodules"

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Submodule:
    """One submodule; ``url`` is as written in the repository, empty if it is missing."""

    path: str
    commit: str
    url: str = ""


async def read_submodules(
    git: Git, commit: str, links: Iterable[tuple[str, str]]
) -> list[Submodule]:
    """Read the submodules of a commit; ``links`` are the paths and commits in its tree."""
    links = list(links)
    urls = await _read_urls(git, commit) if links else {}
    return [Submodule(path, pinned, urls.get(path, "")) for path, pinned in links]


async def _read_urls(git: Git, commit: str) -> dict[str, str]:
    """Read the URLs by path; none if the file is missing or git cannot read it."""
    found: dict[str, dict[str, str]] = {}
    try:
        async for entry in git.lines("config", "--blob", f"{commit}:{GITMODULES}", "-z", "--list"):
            key, _, value = entry.decode(errors="surrogateescape").partition("\n")
            section, _, rest = key.partition(".")
            name, _, variable = rest.rpartition(".")
            if section == "submodule" and name:
                found.setdefault(name, {})[variable] = value
    except GitError:
        return {}
    return {one["path"].strip("/"): one.get("url", "") for one in found.values() if "path" in one}


def resolve_url(parent: str, url: str) -> str:
    """Resolve a submodule's URL; one that begins with a dot is relative to its parent's URL.

    Raises:
        SourceError: ``source_invalid``, the URL leads out of the host, or is missing.
    """
    if not url:
        raise SourceError(
            FaultCode.SOURCE_INVALID,
            f"{GITMODULES} has no URL for the submodule",
            remedy="Correct the submodule in .gitmodules.",
        )
    if not url.startswith(("./", "../")):
        return url
    ssh = SshAddress.parse(parent) if is_ssh(parent) else None
    parts = urlsplit(parent)
    whole = ssh.path if ssh else parts.path
    steps = whole.strip("/").split("/")
    rest = url
    while rest.startswith(("./", "../")):
        step, _, rest = rest.partition("/")
        if step == "..":
            if not steps:
                raise SourceError(
                    FaultCode.SOURCE_INVALID,
                    f"the submodule's URL {url[:200]!r} leads out of its host",
                    remedy="Correct the submodule's URL in .gitmodules.",
                )
            steps.pop()
    path = "/".join([*steps, rest.strip("/")])
    if ssh:
        return str(ssh.with_path(f"/{path}" if whole.startswith("/") else path))
    return urlunsplit((parts.scheme, parts.netloc, f"/{path}", "", ""))


def is_same_origin(one: str, other: str) -> bool:
    """Return whether two URLs of http or https have the same scheme, host and port."""
    try:
        return _origin(one) == _origin(other)
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url.strip())
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
