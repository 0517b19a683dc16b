"""Uploads of blobs into one repository: check, mount, or send in one request.

Blobs are never sent in chunks (``PATCH``): some registries refuse them, and ECR drops all but the
first.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, replace

from yarl import URL

from shared.errors import RegistryError, WharfError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PUSH, PUSH_AND_CANCEL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.registry.manifests import require_stored
from worker.oci.registry.presence import require_present
from worker.oci.transport.answers import make_protocol_error
from worker.oci.transport.errors import make_timeout
from worker.oci.transport.http import Request, Response
from worker.oci.transport.route import find_origin
from worker.oci.transport.verdicts import Operation

REFUSED = frozenset({FaultCode.PULL_DENIED, FaultCode.PUSH_DENIED, FaultCode.AUTH_MISSING})


@dataclass(frozen=True)
class Upload:
    """An upload that was started; ``location`` is the URL that the registry gave it."""

    location: URL


class Uploads:
    """The uploads to one repository.

    ``mount_from`` is another repository of the same registry whose blobs can be mounted.
    """

    def __init__(self, client: RegistryClient, repository: str, mount_from: str = "") -> None:
        require_repository(repository)
        self._client = client
        self._repository = repository
        self._mount_from = mount_from
        self._scope = Scope(repository, PUSH, mount_from=mount_from)
        self._damaged: set[str] = set()

    async def has(self, blob: Descriptor) -> bool:
        """Return whether the repository holds a blob of this size.

        Raises:
            RegistryError: ``push_denied`` …
        """
        require_digest(blob.digest)
        url = await self._client.url(f"{self._repository}/blobs/{blob.digest}")
        # A redirect is enough: its target is signed for GET and would refuse the HEAD.
        response = await self._client.send_authorized(
            Request("HEAD", url, same_origin_only=True), self._scope
        )
        if response.status == 200:
            return await self._has_right_size(response, blob)
        if response.is_redirect:
            return True
        if response.status in {404, 405}:
            return False
        raise await self._client.refuse(response, Operation.PUSH, self._repository)

    async def start(self) -> Upload:
        """Start an upload. A token that was issued for more rights is reused.

        Raises:
            RegistryError: ``push_denied``, ``repo_missing`` …
        """
        url = await self._uploads_url()
        response = await self._client.send_authorized(
            Request("POST", url), Scope(self._repository, PUSH)
        )
        if response.status != 202:
            raise await self._client.refuse(response, Operation.PUSH, self._repository)
        return await self._parse(response)

    async def mount(self, digest: str) -> Upload | None:
        """Mount a blob of the other repository; start an upload if the registry does not mount it.

        Raises:
            RegistryError: as `start`.
        """
        url = await self._uploads_url()
        request = Request("POST", url.with_query({"mount": digest, "from": self._mount_from}))
        try:
            response = await self._client.send_authorized(request, self._scope)
        except RegistryError as error:
            if error.code not in REFUSED:
                raise
            return await self.start()  # the token server refuses the other repository
        if response.status == 201:
            return None
        return await self._parse(response) if response.status == 202 else await self.start()

    async def finish(self, upload: Upload, blob: Descriptor, content: AsyncIterable[bytes]) -> None:
        """Send a blob and store it under its digest.

        Raises:
            RegistryError: ``upload_corrupt``, ``layer_too_large``, ``conn_timeout`` if no byte
                moved for the idle time; ``image_incomplete`` if the registry keeps a damaged
                copy of the blob; or an error that ``content`` raised.
        """
        request = Request(
            "PUT",
            upload.location.extend_query(digest=blob.digest),
            {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)},
        )
        response = await self._send(request, content)
        if response.status != 201:
            raise await self._client.refuse(response, Operation.PUSH, self._repository)
        require_stored(self._client, self._repository, response, blob.digest)
        if blob.digest in self._damaged:  # a registry may keep its own copy instead
            await require_present(self._client, self._repository, blob)

    async def cancel(self, upload: Upload) -> None:
        """Cancel an upload that was started.

        Raises:
            RegistryError: it refuses, or has its uploads at another address.
        """
        client = self._client
        if find_origin(upload.location) != (await client.route()).origin:
            raise RegistryError(
                FaultCode.LOCATION_MISMATCH,
                f"{client.host.name} sends uploads to another address",
                evidence=upload.location.host or "",
            )
        scope = Scope(self._repository, PUSH_AND_CANCEL)
        response = await client.send_authorized(Request("DELETE", upload.location), scope)
        if response.status not in {200, 202, 204, 404}:
            raise await client.refuse(response, Operation.DELETE, self._repository)

    async def _has_right_size(self, response: Response, blob: Descriptor) -> bool:
        """Return whether an existing blob has its size; some registries report a wrong one."""
        if response.headers.get("Content-Length") == str(blob.size_bytes):
            return True
        try:
            await require_present(self._client, self._repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            self._damaged.add(blob.digest)
        return blob.digest not in self._damaged

    async def _send(self, request: Request, content: AsyncIterable[bytes]) -> Response:
        idle = self._client.settings.deadlines.idle
        try:
            async with asyncio.timeout(idle.total_seconds()) as watchdog:
                watched = _watch(content, watchdog, idle.total_seconds())
                return await self._client.send_authorized(
                    replace(request, content=watched), self._scope
                )
        except TimeoutError as error:
            raise make_timeout(self._client.host.name, "sending a blob", idle) from error

    async def _uploads_url(self) -> URL:
        return await self._client.url(f"{self._repository}/blobs/uploads/")

    async def _parse(self, response: Response) -> Upload:
        if response.location is None:
            raise make_protocol_error(response, f"{self._client.host.name}/{self._repository}")
        await self._require_right_origin(response.location)
        return Upload(response.location)

    async def _require_right_origin(self, location: URL) -> None:
        """Check that an upload continues where the registry is, or at another host in reach.

        A proxy that does not pass on scheme, host or port makes the registry name a wrong address.

        Raises:
            RegistryError: ``location_mismatch``.
        """
        route, named = await self._client.route(), find_origin(location)
        if named == route.origin:
            return
        is_downgrade = route.context is not None and named.scheme == "http"
        if named.raw_host != route.origin.raw_host and not is_downgrade:
            try:
                await self._client.require_reachable(named)
            except WharfError as error:
                raise _make_mismatch(route.origin, named, error.message) from error
            return
        raise _make_mismatch(route.origin, named)


def _make_mismatch(origin: URL, named: URL, evidence: str = "") -> RegistryError:
    return RegistryError(
        FaultCode.LOCATION_MISMATCH,
        f"the registry at {origin} sends uploads to another address: {named}",
        evidence=evidence,
    )


async def _watch(
    content: AsyncIterable[bytes], watchdog: asyncio.Timeout, seconds: float
) -> AsyncIterator[bytes]:
    """Yield the same chunks; waiting for ``content`` does not count as idle time."""
    clock = asyncio.get_running_loop().time
    watchdog.reschedule(None)
    async for chunk in content:
        watchdog.reschedule(clock() + seconds)
        yield chunk
        watchdog.reschedule(None)
    watchdog.reschedule(clock() + seconds)
