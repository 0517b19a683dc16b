"""One blob of a registry, each of its bytes once, whatever the connection does."""

import asyncio
import hashlib
import re
from typing import Self

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.manifest import Descriptor
from worker.oci.transport.answers import Asked, make_strange
from worker.oci.transport.http import Answer, Request
from worker.oci.transport.stream import Stream

RESUMABLE = frozenset(
    {
        FaultCode.CONN_RESET,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_REFUSED,
        FaultCode.REGISTRY_ERROR,
    }
)
"""What a registry that is started anew says meanwhile is among them."""

PROGRESS_BYTES = 256 * 1024
"""A connection that brought less was of no use."""

MAX_USELESS = 3
FIRST_PAUSE_SECONDS = 0.2
"""Before the second useless connection; before the next ones twice as long each."""

_RANGE = re.compile(r"bytes (\d{1,18})-")
DAMAGED = "The registry's own copy of the blob is damaged: push the image again."


class BlobReader:
    """Iterates over the chunks of a blob; the last one comes only if the whole has its digest.

    A connection that was cut, or on which nothing came, is followed by another one from that byte
    on, as long as they bring something. Not to be used after an error.
    """

    def __init__(self, talk: Conversation, repository: str, blob: Descriptor) -> None:
        require_repository(repository)
        self._talk = talk
        self._repository = repository
        self._blob = blob
        self._hash = hashlib.sha256()
        self._stream: Stream | None = None
        self._place_bytes = 0
        self._skip_bytes = 0
        self._opened_bytes = 0
        self._useless = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next chunk, of some 256 KiB at the most.

        Raises:
            RegistryError: ``digest_mismatch`` for other bytes than were promised, or more or fewer;
                ``image_incomplete``, ``pull_denied`` …; ``conn_reset`` or ``conn_timeout`` where
                new connections bring nothing either.
        """
        if not self._blob.size_bytes:
            self._require_digest()
        while self._place_bytes < self._blob.size_bytes:
            try:
                if chunk := await self._read():
                    return self._take(chunk)
            except RegistryError as error:
                await self._bear(error)
        raise StopAsyncIteration

    def close(self) -> None:
        """End the exchange, if one is under way."""
        if self._stream:
            self._stream.close()
        self._stream = None

    async def _read(self) -> bytes:
        """New bytes; none where all that came were known already."""
        if self._stream is None:
            self._stream = await self._open()
        chunk = await self._stream.read()
        if not chunk:
            raise self._make_error(FaultCode.CONN_RESET, "ended too early")
        known = min(self._skip_bytes, len(chunk))
        self._skip_bytes -= known
        return chunk[known:]

    def _take(self, chunk: bytes) -> bytes:
        self._place_bytes += len(chunk)
        self._hash.update(chunk)
        if self._place_bytes > self._blob.size_bytes:
            raise self._make_error(FaultCode.DIGEST_MISMATCH, "is longer than its manifest says")
        if self._place_bytes == self._blob.size_bytes:
            self._require_digest()
            self.close()
        return chunk

    async def _open(self) -> Stream:
        url = await self._talk.url(f"{self._repository}/blobs/{self._blob.digest}")
        headers = {"Range": f"bytes={self._place_bytes}-"} if self._place_bytes else {}
        request = Request("GET", url, headers, streams=True)
        answer = await self._talk.ask(request, Scope(self._repository, PULL))
        if answer.stream is None:
            raise self._make_refusal(answer)
        self._skip_bytes = self._place_bytes - _parse_start(answer)
        if self._skip_bytes < 0:
            answer.stream.close()
            raise make_strange(answer, f"{self._talk.host.name}/{self._repository}")
        self._opened_bytes = self._place_bytes
        return answer.stream

    async def _bear(self, error: RegistryError) -> None:
        """Be ready for another connection, or raise."""
        self.close()
        if error.code not in RESUMABLE:
            raise error
        is_useful = self._place_bytes - self._opened_bytes >= PROGRESS_BYTES
        self._useless = 0 if is_useful else self._useless + 1
        self._opened_bytes = self._place_bytes
        has_waited = error.code == FaultCode.CONN_TIMEOUT and not is_useful
        if has_waited or self._useless > MAX_USELESS:
            raise error
        if self._useless > 1:
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (self._useless - 2))

    def _require_digest(self) -> None:
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise self._make_error(FaultCode.DIGEST_MISMATCH, "has other bytes", found)

    def _make_refusal(self, answer: Answer) -> RegistryError:
        if answer.status == 416:
            what = "is shorter than its manifest says"
            return self._make_error(FaultCode.DIGEST_MISMATCH, what)
        if answer.status == 404 and not answer.is_html:
            return self._make_error(FaultCode.IMAGE_INCOMPLETE, "is missing")
        return self._talk.refusal(answer, Asked.PULL, self._repository)

    def _make_error(self, code: FaultCode, what: str, evidence: str = "") -> RegistryError:
        where = f"{self._talk.host.name}/{self._repository}"
        remedy = DAMAGED if code is FaultCode.DIGEST_MISMATCH else ""
        message = f"the blob {self._blob.digest} of {where} {what}"
        return RegistryError(code, message, remedy=remedy, evidence=evidence)


def _parse_start(answer: Answer) -> int:
    """The place of an answer's first byte: 0 unless it says otherwise (RFC 9110, section 14.4)."""
    found = _RANGE.match(answer.headers.get("Content-Range", ""))
    return int(found[1]) if found and answer.status == 206 else 0
