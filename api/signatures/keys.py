"""Signing keys: key pairs of the organization, and public keys of others."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field
from sqlalchemy import ColumnElement, or_, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.errors import InUseError
from api.fields.shapes import Id, Input, Moment, Name, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.sessions import violates
from shared.errors import ConflictError, NotFoundError, UnmetConditionError
from shared.ids import make_id
from shared.models import Application, AuditEvent, Organization, SigningKey
from shared.signatures.keys import MAX_PEM_CHARACTERS, PublicKey
from shared.signatures.keys import SigningKey as KeyPair
from shared.vault import SealContext

MAX_KEYS = 100
"""Limit of an organization."""

PURPOSE = "signing_key"
LOCK = text("LOCK TABLE signing_key IN SHARE ROW EXCLUSIVE MODE")
"""Allow one creation at a time, until the transaction's end."""

PublicKeyText = Annotated[str, Field(min_length=1, max_length=MAX_PEM_CHARACTERS)]


class SigningKeyOutput(Output):
    """A key without its private part.

    `publicKey` is what `cosign verify --key` reads. A key that `canSign` is the organization's own;
    others only check signatures. A retired key signs no more, and what it signed is still accepted.
    """

    signing_key_id: str
    name: str
    fingerprint: str
    public_key: str
    can_sign: bool
    created_at: Moment
    retired_at: Moment | None

    @classmethod
    def of(cls, key: SigningKey) -> Self:
        shown = key.model_dump(exclude={"private_key"})
        return cls.model_validate(shown | {"can_sign": key.private_key is not None})


class CreateSigningKey(Input):
    """Without `publicKey` a new key pair is made; with it the key only checks signatures."""

    name: Name
    public_key: PublicKeyText | None = None


class ChosenSigningKey(Input):
    signing_key_id: Id


async def create(context: Context, request: CreateSigningKey) -> SigningKeyOutput:
    """Make a key pair that signs images (ECDSA P-256, as cosign makes it), or add a public key.

    The private key is sealed at once: only control opens it, to sign. No server gets it, and nobody
    can read it.
    """
    key_id = make_id()
    private, public = _make(context, key_id, request.public_key)
    key = SigningKey(
        signing_key_id=key_id,
        organization_id=context.organization_id,
        name=request.name,
        fingerprint=public.fingerprint,
        public_key=public.pem,
        private_key=private,
    )
    try:
        async with context.transaction() as session:
            await _require_room(session, context)
            session.add(key)
            session.add(_audit(context, "signingKey.create", key))
            await session.flush()
            await session.refresh(key)
    except IntegrityError as error:
        what = "name" if violates(error, "signing_key_name") else "key"
        raise ConflictError(
            f"the organization already has a signing key with this {what}",
            remedy="Choose another name, or use the existing key (signingKey.all).",
        ) from error
    return SigningKeyOutput.of(key)


async def get_all(context: Context, _request: NoInput) -> list[SigningKeyOutput]:
    """List the organization's signing keys, the oldest first."""
    query = select(SigningKey).where(SigningKey.organization_id == context.organization_id)
    async with context.transaction() as session:
        found = (await session.exec(query.order_by(SigningKey.signing_key_id))).all()
    return [SigningKeyOutput.of(key) for key in found]


async def one(context: Context, request: ChosenSigningKey) -> SigningKeyOutput:
    """Return one signing key, with its public key."""
    async with context.transaction() as session:
        return SigningKeyOutput.of(await find_signing_key(session, context, request.signing_key_id))


async def retire(context: Context, request: ChosenSigningKey) -> SigningKeyOutput:
    """Let a key sign no more. Policies that list it still accept what it has signed.

    To rotate a key: create another one, add it to the policies, and retire this one.
    """
    async with context.transaction() as session:
        key = await find_signing_key(session, context, request.signing_key_id, lock=True)
        if key.retired_at is None:
            key.retired_at = (await session.exec(select(func.now()))).one()
            session.add(_audit(context, "signingKey.retire", key))
    return SigningKeyOutput.of(key)


async def remove(context: Context, request: ChosenSigningKey) -> SigningKeyOutput:
    """Remove a key that no policy lists. What it signed can be checked by its public key only."""
    async with context.transaction() as session:
        key = await find_signing_key(session, context, request.signing_key_id, lock=True)
        await _require_unused(session, context, key)
        await session.delete(key)
        session.add(_audit(context, "signingKey.remove", key))
    return SigningKeyOutput.of(key)


async def find_signing_key(
    session: AsyncSession, context: Context, signing_key_id: str, *, lock: bool = False
) -> SigningKey:
    """Return the row, within the caller's organization; ``lock`` it until the transaction's end.

    Raises:
        NotFoundError: no such key in the organization.
    """
    query = select(SigningKey).where(
        SigningKey.organization_id == context.organization_id,
        SigningKey.signing_key_id == signing_key_id,
    )
    key = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if key is None:
        raise NotFoundError("Signing key not found")
    return key


def _make(context: Context, key_id: str, given: str | None) -> tuple[str | None, PublicKey]:
    """Return the sealed private key, if there is one, and the public key."""
    if given is not None:
        return None, PublicKey.parse(given)
    pair = KeyPair.generate()
    bound = SealContext(PURPOSE, context.organization_id, key_id, "", "")
    return context.resources.vault.seal(pair.pem, bound), pair.public


async def _require_room(session: AsyncSession, context: Context) -> None:
    await (await session.connection()).execute(LOCK)
    same = SigningKey.organization_id == context.organization_id
    counted = await session.exec(select(func.count(col(SigningKey.signing_key_id))).where(same))
    if counted.one() >= MAX_KEYS:
        raise UnmetConditionError(
            "too_many_signing_keys",
            f"the organization has {MAX_KEYS} signing keys, the most allowed",
            remedy="Remove one with signingKey.remove.",
        )


async def _require_unused(session: AsyncSession, context: Context, key: SigningKey) -> None:
    listing = {"signing_key_ids": [key.signing_key_id]}
    publishing = {"publishers": [listing]}
    organization = select(Organization.name).where(
        Organization.organization_id == context.organization_id,
        _names(col(Organization.signature_policy), listing, publishing),
    )
    applications = select(Application.name).where(
        Application.organization_id == context.organization_id,
        _names(col(Application.signature_policy), listing, publishing),
    )
    users = [*(await session.exec(organization)).all(), *(await session.exec(applications)).all()]
    if users:
        raise InUseError(
            f"the signing key {key.name} is in the policy of {', '.join(sorted(users)[:5])}",
            remedy="Take it out of the policies first (signaturePolicy.set).",
        )


def _names(policy: Any, *parts: Mapping[str, object]) -> ColumnElement[bool]:
    """Return the condition that a policy contains one of these parts."""
    return or_(*(policy.contains(part) for part in parts))


def _audit(context: Context, action: str, key: SigningKey) -> AuditEvent:
    return audit_event(
        context, action, key.signing_key_id, name=key.name, fingerprint=key.fingerprint
    )


PROCEDURES = (
    Procedure("signingKey.create", "mutation", CreateSigningKey, SigningKeyOutput, create, "admin"),
    Procedure("signingKey.all", "query", NoInput, list[SigningKeyOutput], get_all),
    Procedure("signingKey.one", "query", ChosenSigningKey, SigningKeyOutput, one),
    Procedure("signingKey.retire", "mutation", ChosenSigningKey, SigningKeyOutput, retire, "admin"),
    Procedure("signingKey.remove", "mutation", ChosenSigningKey, SigningKeyOutput, remove, "admin"),
)
