"""Check that a registry holds all of a blob, without reading it.

```text
HEAD ──► the right size: present ── 404: missing
     └─► any other success or a redirect ──► GET of the first byte, from its real storage
```
"""

import re

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifest import Descriptor
from worker.oci.transport.http import Request, Response
from worker.oci.transport.verdicts import Operation

_RANGE = re.compile(r"bytes 0-0/(\d{1,18})")


async def require_present(client: RegistryClient, repository: str, blob: Descriptor) -> None:
    """Check that a repository holds a blob of this size.

    A registry that redirects may list a blob that its storage has lost, and some answer a HEAD with
    no length or a wrong one. In both cases the first byte is requested.

    Raises:
        RegistryError: ``image_incomplete`` for none and for one of another size; ``pull_denied`` …
    """
    require_repository(repository)
    require_digest(blob.digest)
    url = await client.url(f"{repository}/blobs/{blob.digest}")
    response = await client.send_authorized(
        Request("HEAD", url, same_origin_only=True), Scope(repository, PULL)
    )
    if response.status == 200 and _length(response) == blob.size_bytes:
        return
    if response.status not in {200, 405} and not response.is_redirect:
        raise await _make_error(client, response, repository, blob)
    headers = {"Range": "bytes=0-0"} if blob.size_bytes else {}
    first = await client.send_authorized(
        Request("GET", url, headers, stream_body=True), Scope(repository, PULL)
    )
    if first.stream is None:
        raise await _make_error(client, first, repository, blob)
    first.stream.close()
    size_bytes = _length(first)
    if size_bytes not in {None, blob.size_bytes}:
        problem = f"has {size_bytes} bytes instead of {blob.size_bytes}"
        raise _make_incomplete(client, repository, blob, problem)


def _length(response: Response) -> int | None:
    """Return the size of the whole blob, if the response names it."""
    if response.status == 206:
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


async def _make_error(
    client: RegistryClient, response: Response, repository: str, blob: Descriptor
) -> RegistryError:
    if response.status == 416:
        return _make_incomplete(client, repository, blob, "is empty")
    error = await client.refuse(response, Operation.READ, repository, blob.digest)
    if error.code == FaultCode.IMAGE_INCOMPLETE:
        return _make_incomplete(client, repository, blob, "is missing")
    return error


def _make_incomplete(
    client: RegistryClient, repository: str, blob: Descriptor, problem: str
) -> RegistryError:
    where = f"{client.host.name}/{repository}"
    return RegistryError(FaultCode.IMAGE_INCOMPLETE, f"the blob {blob.digest} of {where} {problem}")
