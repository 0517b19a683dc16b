"""The files of a real registry, to be damaged by tests."""

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
        """Return the file of a blob or manifest, for all repositories."""
        value = digest.removeprefix("sha256:")
        return self._root / "blobs/sha256" / value[:2] / value / "data"

    def link(self, repository: str, digest: str) -> Path:
        """Return the file that links a blob to a repository."""
        value = digest.removeprefix("sha256:")
        return self._root / "repositories" / repository / "_layers/sha256" / value / "link"

    def tags(self, repository: str) -> Path:
        """Return the directory of a repository's tags."""
        return self._root / "repositories" / repository / "_manifests/tags"
