"""Blobs on their way into one repository: looked for, mounted, sent in one request.

Never in pieces (``PATCH``): some registries refuse them, and ECR drops all but the first.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, replace

from yarl import URL

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PUSH, Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.manifest import Descriptor
from worker.oci.registry.manifests import require_stored
from worker.oci.registry.presence import require_present
from worker.oci.transport.answers import Asked, make_strange
from worker.oci.transport.errors import make_timeout
from worker.oci.transport.http import Answer, Request

REFUSED = frozenset({FaultCode.PULL_DENIED, FaultCode.PUSH_DENIED, FaultCode.AUTH_MISSING})


@dataclass(frozen=True)
class Upload:
    """A begun upload; ``location`` is the registry's own address for it."""

    repository: str
    location: URL


class Uploads:
    """``mounts`` is another repository of the same registry, whose blobs may be had unsent."""

    def __init__(self, talk: Conversation, repository: str, mounts: str = "") -> None:
        require_repository(repository)
        self._talk = talk
        self._repository = repository
        self._mounts = mounts
        self._scope = Scope(repository, PUSH, mounts=mounts)
        self._damaged: set[str] = set()

    async def has(self, blob: Descriptor) -> bool:
        """Whether the repository holds a blob of this size.

        Raises:
            RegistryError: ``push_denied`` …
        """
        require_digest(blob.digest)
        url = await self._talk.url(f"{self._repository}/blobs/{blob.digest}")
        # A redirect says enough; signed for GET, it would refuse the HEAD.
        answer = await self._talk.ask(Request("HEAD", url, stays=True), self._scope)
        if answer.status == 200:
            return await self._is_whole(answer, blob)
        if answer.is_redirect:
            return True
        if answer.status in {404, 405}:
            return False
        raise self._talk.refusal(answer, Asked.PUSH, self._repository)

    async def start(self) -> Upload:
        """Begin an upload. A token that was given for more rights before is used for it.

        Raises:
            RegistryError: ``push_denied``, ``repo_missing`` …
        """
        url = await self._uploads_url()
        answer = await self._talk.ask(Request("POST", url), Scope(self._repository, PUSH))
        if answer.status != 202:
            raise self._talk.refusal(answer, Asked.PUSH, self._repository)
        return self._parse(answer)

    async def mount(self, digest: str) -> Upload | None:
        """Have the registry take over a blob it holds; where it does not, an upload is begun.

        Raises:
            RegistryError: as `start`.
        """
        url = await self._uploads_url()
        request = Request("POST", url.with_query({"mount": digest, "from": self._mounts}))
        try:
            answer = await self._talk.ask(request, self._scope)
        except RegistryError as error:
            if error.code not in REFUSED:
                raise
            return await self.start()  # the token server minds the other repository
        if answer.status == 201:
            return None
        return self._parse(answer) if answer.status == 202 else await self.start()

    async def finish(self, upload: Upload, blob: Descriptor, content: AsyncIterable[bytes]) -> None:
        """Send a blob and have it stored under its digest.

        Raises:
            RegistryError: ``upload_corrupt``, ``layer_too_large``, ``conn_timeout`` where no byte
                moved for the idle time; ``image_incomplete`` where the registry keeps a damaged
                blob that it had; or what ``content`` raised.
        """
        request = Request(
            "PUT",
            upload.location.extend_query(digest=blob.digest),
            {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)},
        )
        answer = await self._send(request, content)
        if answer.status != 201:
            raise self._talk.refusal(answer, Asked.PUSH, self._repository)
        require_stored(self._talk, self._repository, answer, blob.digest)
        if blob.digest in self._damaged:  # a registry may take it for the one that it has
            await require_present(self._talk, self._repository, blob)

    async def _is_whole(self, answer: Answer, blob: Descriptor) -> bool:
        """Whether a blob that is there has its size; some registries name none, or a wrong one."""
        if answer.headers.get("Content-Length") == str(blob.size_bytes):
            return True
        try:
            await require_present(self._talk, self._repository, blob)
        except RegistryError as error:
            if error.code != FaultCode.IMAGE_INCOMPLETE:
                raise
            self._damaged.add(blob.digest)
        return blob.digest not in self._damaged

    async def _send(self, request: Request, content: AsyncIterable[bytes]) -> Answer:
        idle = self._talk.settings.deadlines.idle
        try:
            async with asyncio.timeout(idle.total_seconds()) as watchdog:
                watched = _watch(content, watchdog, idle.total_seconds())
                return await self._talk.ask(replace(request, content=watched), self._scope)
        except TimeoutError as error:
            raise make_timeout(self._talk.host.name, "sending a blob", idle) from error

    async def _uploads_url(self) -> URL:
        return await self._talk.url(f"{self._repository}/blobs/uploads/")

    def _parse(self, answer: Answer) -> Upload:
        if answer.location is None:
            raise make_strange(answer, f"{self._talk.host.name}/{self._repository}")
        return Upload(self._repository, answer.location)


async def _watch(
    content: AsyncIterable[bytes], watchdog: asyncio.Timeout, seconds: float
) -> AsyncIterator[bytes]:
    """The same chunks; the time in which ``content`` makes us wait is its own matter."""
    clock = asyncio.get_running_loop().time
    watchdog.reschedule(None)
    async for chunk in content:
        watchdog.reschedule(clock() + seconds)
        yield chunk
        watchdog.reschedule(None)
    watchdog.reschedule(clock() + seconds)
