"""The sources of a build: a git repository or an uploaded context."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Discriminator, Tag

from shared.ssh.address import SshAddress, is_ssh


class GitSource(BaseModel):
    """Sources in a git repository: a commit, or the head of a branch at the time of the fetch.

    ``path`` is the directory in it to which all other paths are relative. ``host_keys`` are the
    fingerprints of the keys by which a host behind SSH is recognized.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["git"] = "git"
    url: str
    branch: str | None = None
    commit: str | None = None
    path: str = ""
    username: str = ""
    host_keys: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """Return ``host[:port]``, the only host that its token or deploy key is for."""
        if is_ssh(self.url):
            return SshAddress.parse(self.url).host
        return urlsplit(self.url).netloc.rpartition("@")[2].lower()


class UploadSource(BaseModel):
    """Sources in an uploaded tar: a context that the API stores, its size and its checksum."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["upload"] = "upload"
    context_id: str
    size_bytes: int
    sha256: str


def _kind_of_source(source: object) -> str:
    """Return the kind; commands that were stored before uploads existed have none."""
    kind = source.get("kind", "git") if isinstance(source, dict) else getattr(source, "kind", "")
    return str(kind)


Source = Annotated[
    Annotated[GitSource, Tag("git")] | Annotated[UploadSource, Tag("upload")],
    Discriminator(_kind_of_source),
]
