"""The referrers API: what a registry says refers to a manifest, as signatures do."""

from pydantic import BaseModel, ValidationError

from shared.reference import require_digest, require_repository
from worker.oci.auth.scope import PULL, Scope
from worker.oci.registry.conversation import Conversation
from worker.oci.registry.listing import PAGE_LIMIT_BYTES
from worker.oci.transport.answers import Asked, error_codes, make_strange
from worker.oci.transport.http import Answer, Request

WITHOUT = frozenset({404, 405, 501})
"""How a registry says that it does not have the API."""


class _Referrer(BaseModel):
    digest: str


class _Referrers(BaseModel):
    manifests: list[_Referrer]


async def find_referrers(
    talk: Conversation, repository: str, digest: str
) -> tuple[str, ...] | None:
    """The digests of the first page; ``None`` where the registry does not have the API.

    OCI distribution 1.1, "Listing Referrers".

    Raises:
        RegistryError: ``pull_denied`` …, ``registry_error`` for something else than a list.
    """
    require_repository(repository)
    require_digest(digest)
    url = await talk.url(f"{repository}/referrers/{digest}")
    request = Request("GET", url, limit_bytes=PAGE_LIMIT_BYTES)
    answer = await talk.ask(request, Scope(repository, PULL))
    if answer.status in WITHOUT or "UNSUPPORTED" in error_codes(answer):
        return None
    if answer.status != 200:
        raise talk.refusal(answer, Asked.PULL, repository)
    return _parse(answer, f"{talk.host.name}/{repository}")


def _parse(answer: Answer, subject: str) -> tuple[str, ...]:
    try:
        found = _Referrers.model_validate(answer.json())
    except ValidationError as error:
        raise make_strange(answer, subject) from error
    if not found.manifests and "Link" in answer.headers:
        raise make_strange(answer, subject)
    return tuple(referrer.digest for referrer in found.manifests)
