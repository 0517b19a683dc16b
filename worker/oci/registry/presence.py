"""Whether a registry holds a blob, and all of it, without reading it.

```text
HEAD ──► the right size: there ── 404: missing
     └─► anything else that is no refusal ──► GET of the first byte, from where it really lies
```
"""

import re

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.manifest import Descriptor
from worker.oci.transport.answers import Asked
from worker.oci.transport.http import Answer, Request

_RANGE = re.compile(r"bytes 0-0/(\d{1,18})")


async def require_present(talk: Conversation, repository: str, blob: Descriptor) -> None:
    """See that a repository holds a blob of this size.

    A registry that leads elsewhere may know a blob that its storage has lost, and some answer a
    HEAD with no length or with a wrong one: there the first byte is asked for.

    Raises:
        RegistryError: ``image_incomplete`` for none and for one of another size; ``pull_denied`` …
    """
    require_repository(repository)
    require_digest(blob.digest)
    url = await talk.url(f"{repository}/blobs/{blob.digest}")
    answer = await talk.ask(Request("HEAD", url, stays=True), Scope(repository, PULL))
    if answer.status == 200 and _length(answer) == blob.size_bytes:
        return
    if answer.status not in {200, 405} and not answer.is_redirect:
        raise _make_error(talk, answer, repository, blob)
    headers = {"Range": "bytes=0-0"} if blob.size_bytes else {}
    first = await talk.ask(Request("GET", url, headers, streams=True), Scope(repository, PULL))
    if first.stream is None:
        raise _make_error(talk, first, repository, blob)
    first.stream.close()
    size_bytes = _length(first)
    if size_bytes not in {None, blob.size_bytes}:
        what = f"has {size_bytes} bytes, and should have {blob.size_bytes}"
        raise _make_incomplete(talk, repository, blob, what)


def _length(answer: Answer) -> int | None:
    """The size of the whole, where the answer tells it."""
    if answer.status == 206:
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _make_error(
    talk: Conversation, answer: Answer, repository: str, blob: Descriptor
) -> RegistryError:
    if answer.status == 404 and not answer.is_html:
        return _make_incomplete(talk, repository, blob, "is missing")
    if answer.status == 416:
        return _make_incomplete(talk, repository, blob, "is empty")
    return talk.refusal(answer, Asked.PULL, repository)


def _make_incomplete(
    talk: Conversation, repository: str, blob: Descriptor, what: str
) -> RegistryError:
    where = f"{talk.host.name}/{repository}"
    return RegistryError(FaultCode.IMAGE_INCOMPLETE, f"the blob {blob.digest} of {where} {what}")
