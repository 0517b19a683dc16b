"""The download of one blob: each byte once, even if connections break."""

import asyncio
import hashlib
import re
from typing import Self

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.transport.answers import make_protocol_error
from worker.oci.transport.http import Request, Response
from worker.oci.transport.stream import Stream
from worker.oci.transport.verdicts import Operation

RESUMABLE = frozenset(
    {
        FaultCode.CONN_RESET,
        FaultCode.CONN_TIMEOUT,
        FaultCode.CONN_REFUSED,
        FaultCode.NO_ROUTE,
        FaultCode.REGISTRY_ERROR,
    }
)
"""Errors after which another connection is tried; a restarting registry causes them too."""

MIN_USEFUL_BYTES = 256 * 1024
"""A connection that delivered fewer bytes counts as useless."""

MAX_USELESS_CONNECTIONS = 3
FIRST_PAUSE_SECONDS = 0.2
"""The pause before the second useless connection; it doubles for each further one."""

_RANGE = re.compile(r"bytes (\d{1,18})-")
DAMAGED_REMEDY = "The registry's copy of the blob is damaged: push the image again."


class BlobReader:
    """An iterator over the chunks of a blob; it yields the last one only if the digest matches.

    If a connection is cut or stalls, another one continues from that byte, as long as they deliver
    something. It cannot be used after an error.
    """

    def __init__(self, client: RegistryClient, repository: str, blob: Descriptor) -> None:
        require_repository(repository)
        self._client = client
        self._repository = repository
        self._blob = blob
        self._hash = hashlib.sha256()
        self._stream: Stream | None = None
        self._received_bytes = 0
        self._skip_bytes = 0
        self._connection_start_bytes = 0
        self._useless_connections = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk, of at most about 256 KiB.

        Raises:
            RegistryError: ``digest_mismatch`` for other bytes than its digest, or more or fewer;
                ``image_incomplete``, ``pull_denied`` …; ``conn_reset`` or ``conn_timeout`` if
                further connections deliver nothing either.
        """
        if not self._blob.size_bytes:
            self._require_digest()
        while self._received_bytes < self._blob.size_bytes:
            try:
                if chunk := await self._read():
                    return self._accept(chunk)
            except RegistryError as error:
                await self._prepare_retry(error)
        raise StopAsyncIteration

    def close(self) -> None:
        """End the exchange, if one is under way."""
        if self._stream:
            self._stream.close()
        self._stream = None

    async def _read(self) -> bytes:
        """Return new bytes; none if all received ones were known already."""
        if self._stream is None:
            self._stream = await self._open()
        chunk = await self._stream.read()
        if not chunk:
            raise self._make_error(FaultCode.CONN_RESET, "ended too early")
        known = min(self._skip_bytes, len(chunk))
        self._skip_bytes -= known
        return chunk[known:]

    def _accept(self, chunk: bytes) -> bytes:
        self._received_bytes += len(chunk)
        self._hash.update(chunk)
        if self._received_bytes > self._blob.size_bytes:
            raise self._make_error(FaultCode.DIGEST_MISMATCH, "is longer than its manifest says")
        if self._received_bytes == self._blob.size_bytes:
            self._require_digest()
            self.close()
        return chunk

    async def _open(self) -> Stream:
        url = await self._client.url(f"{self._repository}/blobs/{self._blob.digest}")
        headers = {"Range": f"bytes={self._received_bytes}-"} if self._received_bytes else {}
        request = Request("GET", url, headers, stream_body=True)
        response = await self._client.send_authorized(request, Scope(self._repository, PULL))
        if response.stream is None:
            raise await self._make_refusal(response)
        self._skip_bytes = self._received_bytes - _parse_start(response)
        if self._skip_bytes < 0:
            response.stream.close()
            raise make_protocol_error(response, f"{self._client.host.name}/{self._repository}")
        self._connection_start_bytes = self._received_bytes
        return response.stream

    async def _prepare_retry(self, error: RegistryError) -> None:
        """Prepare another connection, or raise the error."""
        self.close()
        if error.code not in RESUMABLE:
            raise error
        is_useful = self._received_bytes - self._connection_start_bytes >= MIN_USEFUL_BYTES
        self._useless_connections = 0 if is_useful else self._useless_connections + 1
        self._connection_start_bytes = self._received_bytes
        has_waited = error.code == FaultCode.CONN_TIMEOUT and not is_useful
        if has_waited or self._useless_connections > MAX_USELESS_CONNECTIONS:
            raise error
        if self._useless_connections > 1:
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2 ** (self._useless_connections - 2))

    def _require_digest(self) -> None:
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise self._make_error(FaultCode.DIGEST_MISMATCH, "has another digest", found)

    async def _make_refusal(self, response: Response) -> RegistryError:
        if response.status == 416:
            problem = "is shorter than its manifest says"
            return self._make_error(FaultCode.DIGEST_MISMATCH, problem)
        error = await self._client.refuse(
            response, Operation.READ, self._repository, self._blob.digest
        )
        if error.code == FaultCode.IMAGE_INCOMPLETE:
            return self._make_error(FaultCode.IMAGE_INCOMPLETE, "is missing", error.evidence)
        return error

    def _make_error(self, code: FaultCode, problem: str, evidence: str = "") -> RegistryError:
        where = f"{self._client.host.name}/{self._repository}"
        remedy = DAMAGED_REMEDY if code is FaultCode.DIGEST_MISMATCH else ""
        message = f"the blob {self._blob.digest} of {where} {problem}"
        return RegistryError(code, message, remedy=remedy, evidence=evidence)


def _parse_start(response: Response) -> int:
    """Return the offset of a response's first byte, 0 by default (RFC 9110, section 14.4)."""
    found = _RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[1]) if found and response.status == 206 else 0
