"""What a real registry keeps on its disk, to be taken from it by hand."""

from dataclasses import dataclass
from pathlib import Path

from worker.local.registry import LocalRegistry


@dataclass(frozen=True)
class Storage:
    """The files of one registry of the distribution project."""

    registry: LocalRegistry

    @property
    def _root(self) -> Path:
        return self.registry.child.log.parent / "data/docker/registry/v2"

    def data(self, digest: str) -> Path:
        """Return the bytes of a blob or of a manifest, for all repositories."""
        value = digest.removeprefix("sha256:")
        return self._root / "blobs/sha256" / value[:2] / value / "data"

    def link(self, repository: str, digest: str) -> Path:
        """What says that a repository has a blob."""
        value = digest.removeprefix("sha256:")
        return self._root / "repositories" / repository / "_layers/sha256" / value / "link"
