"""The plan of a copy: all manifests of an image, and the blobs that they need."""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.oci.concurrency import run_concurrently
from worker.oci.images.contents import Contents, parse_contents
from worker.oci.images.root import fetch_root
from worker.oci.registry import manifests
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor, Manifest
from worker.oci.registry.manifests import MISSING

MAX_MANIFESTS = 500
MAX_MANIFESTS_BYTES = 32 * 1024 * 1024
"""All manifests of an image are held in memory."""


@dataclass(frozen=True)
class Plan:
    """Everything that an image consists of, each part once.

    ``children`` are in the order of storing: each manifest precedes the ones that name it.
    """

    root: Manifest
    children: tuple[Manifest, ...]
    layers: tuple[Descriptor, ...]
    configs: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        return self.layers + self.configs


async def make_plan(source: RegistryClient, reference: Reference) -> Plan:
    """Resolve a reference once and read all manifests below it.

    Raises:
        RegistryError: ``image_not_found``, ``pull_denied`` …; ``image_incomplete`` if it names a
            manifest that does not exist, and ``registry_error`` for manifests that are malformed or
            are too many.
    """
    root = await fetch_root(source, reference)
    return await _PlanBuilder(source, reference).build(root)


class _PlanBuilder:
    def __init__(self, source: RegistryClient, reference: Reference) -> None:
        self._source = source
        self._reference = reference
        self._manifests: dict[str, Manifest] = {}
        self._contents: dict[str, Contents] = {}

    async def build(self, root: Manifest) -> Plan:
        self._add(root)
        while missing := self._missing():
            self._source.expect_pulls(len(self._manifests) + len(missing))
            await run_concurrently(missing, self._fetch)
        *children, _ = self._in_order(root.descriptor.digest, set())
        contents = self._contents.values()
        layers = {layer.digest: layer for one in contents for layer in one.layers}
        configs = {one.config.digest: one.config for one in contents if one.config}
        return Plan(
            root,
            tuple(self._manifests[digest] for digest in children),
            tuple(layers.values()),
            tuple(blob for digest, blob in configs.items() if digest not in layers),
        )

    def _missing(self) -> set[str]:
        named = {child.digest for one in self._contents.values() for child in one.children}
        if len(named) > MAX_MANIFESTS:
            raise self._make_error(f"has more than {MAX_MANIFESTS} manifests")
        return named - set(self._contents)

    async def _fetch(self, digest: str) -> None:
        try:
            self._add(await manifests.fetch(self._source, self._reference.repository, digest))
        except RegistryError as error:
            if error.code not in MISSING:
                raise
            raise RegistryError(
                FaultCode.IMAGE_INCOMPLETE,
                f"{self._reference} names a manifest that does not exist: {digest}",
                evidence=error.evidence,
            ) from error

    def _add(self, manifest: Manifest) -> None:
        digest = manifest.descriptor.digest
        contents = parse_contents(manifest)
        if contents is None:
            raise self._make_error(f"has a manifest that is malformed: {digest}")
        self._manifests[digest], self._contents[digest] = manifest, contents
        if sum(len(one.content) for one in self._manifests.values()) > MAX_MANIFESTS_BYTES:
            raise self._make_error("has manifests of more than 32 MiB in total")

    def _in_order(self, digest: str, seen: set[str]) -> Iterator[str]:
        """Yield each manifest before the ones that name it; no digest can name itself."""
        for child in self._contents[digest].children:
            if child.digest not in seen:
                yield from self._in_order(child.digest, seen)
        seen.add(digest)
        yield digest

    def _make_error(self, problem: str) -> RegistryError:
        return RegistryError(FaultCode.REGISTRY_ERROR, f"{self._reference} {problem}")
