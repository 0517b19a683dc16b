"""Signature policies: what has to be signed before it runs."""

from typing import Annotated, Literal

from pydantic import Field
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.applications.queries import find_application
from api.fields.shapes import Id, Ids, Input, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import InvalidInputError, NotFoundError
from shared.models import Application, Organization, SigningKey
from shared.signatures.policy import (
    MAX_KEYS,
    MAX_PREDICATE_TYPES,
    MAX_PREFIXES,
    Mode,
    StoredPolicy,
    StoredPublisher,
)

PredicateType = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[!-~]+$")]
PolicyKeys = Annotated[Ids, Field(max_length=MAX_KEYS)]
_HOST = r"([a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]{1,5})?|localhost(:[0-9]{1,5})?|[a-z0-9-]+:[0-9]{1,5})"
RegistryPrefix = Annotated[str, Field(max_length=300, pattern=rf"^{_HOST}(/[a-z0-9._-]+)*$")]
"""A registry's host, or with a path below it: ``ghcr.io/acme``."""

BaseRegistries = Annotated[list[RegistryPrefix], Field(max_length=MAX_PREFIXES)]
PredicateTypes = Annotated[list[PredicateType], Field(max_length=MAX_PREDICATE_TYPES)]


class Publisher(Input):
    """Images below `prefix` (`docker.io/library`) have to be signed by one of these keys."""

    prefix: RegistryPrefix
    signing_key_ids: Annotated[PolicyKeys, Field(min_length=1)]


class PublisherOutput(Output):
    """A publisher, and the keys of which one has to have signed its images."""

    prefix: str
    signing_key_ids: list[str]


Publishers = Annotated[list[Publisher], Field(max_length=MAX_PREFIXES)]


class PolicyOutput(Output):
    """A policy; `source` says whether it is the application's own or the organization's.

    One signature by any of the keys is enough, and one attestation of each of `predicateTypes`.
    A ready image of one of the `publishers` has to be signed by that publisher instead. Builds may
    use bases of `baseRegistries` only, if there are any; bases of publishers have to be signed too.
    """

    mode: Mode
    signing_key_ids: list[str]
    predicate_types: list[str]
    base_registries: list[str]
    publishers: list[PublisherOutput]
    source: Literal["application", "organization"]

    def as_stored(self) -> StoredPolicy:
        return StoredPolicy.model_validate(self.model_dump(exclude={"source"}))


class ChosenPolicy(Input):
    """Without `applicationId` it is the organization's policy."""

    application_id: Id | None = None


class SetPolicy(Input):
    """The whole new policy. `inherit` gives an application the organization's policy again."""

    application_id: Id | None = None
    mode: Mode = "off"
    signing_key_ids: PolicyKeys = Field(default_factory=list)
    predicate_types: PredicateTypes = Field(default_factory=list)
    base_registries: BaseRegistries = Field(default_factory=list)
    publishers: Publishers = Field(default_factory=list)
    inherit: bool = False


async def one(context: Context, request: ChosenPolicy) -> PolicyOutput:
    """Return the policy that holds for an application, or the organization's."""
    async with context.transaction() as session:
        return await find_policy(session, context, request.application_id)


async def set_policy(context: Context, request: SetPolicy) -> PolicyOutput:
    """Set the signature policy of an application, or of the organization by default.

    `enforce` refuses to deploy or roll back to an image that does not satisfy it: control checks it
    before a server is told to pull, and each server before it pulls. It also refuses builds on
    bases that the policy does not allow. `warn` goes on and adds a warning to the job. Deployments
    and builds that were requested earlier keep the policy of that time.
    """
    if request.inherit and request.application_id is None:
        raise InvalidInputError(
            "the organization has nothing to inherit a policy from",
            remedy="Give applicationId, or the whole policy.",
        )
    async with context.transaction() as session:
        await _require_keys(session, context, _list_keys(request))
        row = await _load(session, context, request.application_id, lock=True)
        stored = StoredPolicy(
            mode=request.mode,
            signing_key_ids=tuple(request.signing_key_ids),
            predicate_types=tuple(request.predicate_types),
            base_registries=tuple(dict.fromkeys(request.base_registries)),
            publishers=tuple(
                StoredPublisher(prefix=one.prefix, signing_key_ids=tuple(one.signing_key_ids))
                for one in request.publishers
            ),
        )
        row.signature_policy = None if request.inherit else stored.model_dump(mode="json")
        object_id = request.application_id or context.organization_id
        mode = "inherit" if request.inherit else request.mode
        session.add(audit_event(context, "signaturePolicy.set", object_id, mode=mode))
        await session.flush()
        return await find_policy(session, context, request.application_id)


async def find_policy(
    session: AsyncSession, context: Context, application_id: str | None
) -> PolicyOutput:
    """Return the policy that holds.

    Raises:
        NotFoundError: no such application in the organization.
    """
    own = None
    if application_id is not None:
        own = (await _load(session, context, application_id)).signature_policy
    document = own
    if own is None:
        document = (await _load(session, context, None)).signature_policy
    stored = StoredPolicy.model_validate(document or {})
    return PolicyOutput(
        mode=stored.mode,
        signing_key_ids=list(stored.signing_key_ids),
        predicate_types=list(stored.predicate_types),
        base_registries=list(stored.base_registries),
        publishers=[
            PublisherOutput(prefix=one.prefix, signing_key_ids=list(one.signing_key_ids))
            for one in stored.publishers
        ],
        source="organization" if own is None else "application",
    )


async def load_public_keys(
    session: AsyncSession, context: Context, signing_key_ids: frozenset[str]
) -> dict[str, str]:
    """Return the public keys with these ids, as PEM, each by its id.

    Raises:
        NotFoundError: the organization lacks one of them.
    """
    query = select(SigningKey).where(
        SigningKey.organization_id == context.organization_id,
        col(SigningKey.signing_key_id).in_(signing_key_ids),
    )
    found = (await session.exec(query)).all()
    if len(found) != len(signing_key_ids):
        raise NotFoundError("Signing key not found")
    return {key.signing_key_id: key.public_key for key in found}


def _list_keys(request: SetPolicy) -> list[str]:
    """Return the ids of all keys that a policy names, each once."""
    of_publishers = [key_id for one in request.publishers for key_id in one.signing_key_ids]
    return list(dict.fromkeys([*request.signing_key_ids, *of_publishers]))


async def _require_keys(session: AsyncSession, context: Context, key_ids: list[str]) -> None:
    """Check that the keys exist, and keep them until the transaction's end."""
    query = select(SigningKey.signing_key_id).where(
        SigningKey.organization_id == context.organization_id,
        col(SigningKey.signing_key_id).in_(key_ids),
    )
    found = (await session.exec(query.with_for_update(key_share=True, read=True))).all()
    if len(found) != len(key_ids):
        raise NotFoundError("Signing key not found")


async def _load(
    session: AsyncSession, context: Context, application_id: str | None, *, lock: bool = False
) -> Application | Organization:
    if application_id is not None:
        application, _ = await find_application(session, context, application_id, lock=lock)
        return application
    query = select(Organization).where(Organization.organization_id == context.organization_id)
    return (await session.exec(query.with_for_update() if lock else query)).one()


PROCEDURES = (
    Procedure("signaturePolicy.one", "query", ChosenPolicy, PolicyOutput, one),
    Procedure("signaturePolicy.set", "mutation", SetPolicy, PolicyOutput, set_policy, "admin"),
)
