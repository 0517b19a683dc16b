"""Invitations: one-time links by which people become members."""

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field
from sqlmodel import col, func, insert, select

from api.fields.shapes import Id, Input, MemberRole, Moment, NoInput, Output
from api.procedure.audit import audit_event
from api.procedure.auth import hash_secret, make_secret
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import ForbiddenError, NotFoundError
from shared.ids import make_id
from shared.models import Invitation, Member

TOKEN_PREFIX = "whi_"  # noqa: S105 - not a secret
LIFETIME = timedelta(days=7)
MAX_EMAIL = 320
PATH = "/console/join/"


def parse_email(text: str) -> str:
    """Return an e-mail address in lower case, as addresses are compared."""
    email = text.strip().lower()
    local, _, domain = email.rpartition("@")
    is_plain = email.isprintable() and not any(char.isspace() for char in email)
    if not local or not domain or not is_plain:
        raise ValueError("Invalid e-mail address: write it as name@example.com")
    return email


Email = Annotated[str, Field(min_length=3, max_length=MAX_EMAIL), AfterValidator(parse_email)]


class InvitationOutput(Output):
    """An invitation that nobody has accepted yet; without ``email`` it is for who opens it."""

    invitation_id: str
    organization_id: str
    email: str | None
    role: MemberRole
    created_at: Moment
    expires_at: Moment


class CreatedInvitation(InvitationOutput):
    """A new invitation; ``path`` of the link, below the API's address, is shown only once."""

    path: str


class InviteMember(Input):
    """Without ``email`` the link is for whoever opens it first."""

    email: Email | None = None
    role: MemberRole = "member"


class ChosenInvitation(Input):
    invitation_id: Id


async def invite(context: Context, request: InviteMember) -> CreatedInvitation:
    """Invite a person by a link that works once, within seven days.

    Owners are invited by owners, or by an administrator as long as there is none.

    Raises:
        ForbiddenError: the organization has an owner, and the caller is none.
    """
    token = make_secret(TOKEN_PREFIX)
    values = {
        "invitation_id": make_id(),
        "organization_id": context.organization_id,
        "email": request.email,
        "role": request.role,
        "token_hash": hash_secret(token),
        "invited_by": context.caller.actor_id,
        "expires_at": func.now() + LIFETIME,
    }
    owners = select(Member.member_id).where(
        Member.organization_id == context.organization_id, Member.role == "owner"
    )
    async with context.transaction() as session:
        needs_owner = request.role == "owner" and context.caller.role != "owner"
        if needs_owner and (await session.exec(owners.limit(1))).first() is not None:
            raise ForbiddenError(
                "only an owner invites owners", remedy="Ask an owner of the organization."
            )
        await session.exec(insert(Invitation).values(**values))
        made = await session.get_one(Invitation, values["invitation_id"])
        session.add(
            audit_event(
                context,
                "organization.inviteMember",
                made.invitation_id,
                email=made.email,
                role=made.role,
            )
        )
    shown = InvitationOutput.model_validate(made)
    return CreatedInvitation(**shown.model_dump(), path=f"{PATH}{token}")


async def get_all(context: Context, _request: NoInput) -> list[InvitationOutput]:
    """List the invitations that can still be accepted, the oldest first."""
    query = (
        select(Invitation)
        .where(
            Invitation.organization_id == context.organization_id,
            col(Invitation.accepted_at).is_(None),
            col(Invitation.expires_at) > func.now(),
        )
        .order_by(col(Invitation.created_at), col(Invitation.invitation_id))
    )
    async with context.transaction() as session:
        rows = (await session.exec(query)).all()
    return [InvitationOutput.model_validate(row) for row in rows]


async def remove(context: Context, request: ChosenInvitation) -> bool:
    """Remove an invitation: its link stops working at once."""
    query = select(Invitation).where(
        Invitation.organization_id == context.organization_id,
        Invitation.invitation_id == request.invitation_id,
        col(Invitation.accepted_at).is_(None),
    )
    async with context.transaction() as session:
        found = (await session.exec(query)).one_or_none()
        if found is None:
            raise NotFoundError("Invitation not found")
        if found.role == "owner" and context.caller.role != "owner":
            raise ForbiddenError(
                "only an owner removes the invitation of an owner",
                remedy="Ask an owner of the organization.",
            )
        session.add(
            audit_event(
                context, "organization.removeInvitation", found.invitation_id, email=found.email
            )
        )
        await session.delete(found)
    return True


PROCEDURES = (
    Procedure(
        "organization.inviteMember", "mutation", InviteMember, CreatedInvitation, invite, "admin"
    ),
    Procedure(
        "organization.allInvitations", "query", NoInput, list[InvitationOutput], get_all, "admin"
    ),
    Procedure("organization.removeInvitation", "mutation", ChosenInvitation, bool, remove, "admin"),
)
