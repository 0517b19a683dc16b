"""Members of an organization: list them, change their roles, remove them."""

from typing import Any

from pydantic import Field
from sqlalchemy import RowMapping, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from api.accounts.users import MemberOutput, UserOutput
from api.errors import LastOwnerError
from api.fields.networks import Networks
from api.fields.shapes import Id, Input, MemberRole, Moment, NoInput
from api.procedure.audit import audit_event
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.source_networks import require_own_source
from shared.errors import ForbiddenError, NotFoundError
from shared.models import Member

FIND = text("""
SELECT m.member_id AS id, m.organization_id, m.user_id, m.role, m.created_at, m.networks,
       u.name, u.email, u.signed_in_at, u.second_factor IS NOT NULL AS has_second_factor
  FROM member m JOIN user_account u USING (user_id)
 WHERE m.organization_id = :organization_id ORDER BY m.created_at, m.member_id
""")


class ListedMember(MemberOutput):
    """A member, as the list of members shows it."""

    signed_in_at: Moment | None
    has_second_factor: bool
    networks: list[str]


class ChangeNetworks(Input):
    """``networks`` replace those of the member; an empty list limits nothing."""

    member_id: Id
    networks: Networks
    force: bool = False


class ChosenUser(Input):
    user_id: Id


class ChangeRole(Input):
    """``memberId`` is the member's, from `user.all`."""

    member_id: Id
    role: MemberRole = Field()


async def get_all(context: Context, _request: NoInput) -> list[ListedMember]:
    """List the people of the organization, the one who joined first at the head."""
    async with context.transaction() as session:
        connection = await session.connection()
        found = await connection.execute(FIND, {"organization_id": context.organization_id})
    return [_show(row) for row in found.mappings()]


async def update_role(context: Context, request: ChangeRole) -> bool:
    """Change the role of a member. Only an owner makes an owner, or changes the role of one."""
    async with context.transaction() as session:
        member = await _find(session, context, Member.member_id == request.member_id)
        await _require_allowed(session, context, member, request.role)
        before, member.role = member.role, request.role
        session.add(member)
        session.add(
            audit_event(
                context,
                "organization.updateMemberRole",
                member.user_id,
                before=before,
                role=request.role,
            )
        )
    return True


async def update_networks(context: Context, request: ChangeNetworks) -> bool:
    """Limit a member and its personal keys to networks. Only an owner limits an owner.

    Raises:
        WouldLockOutError: the caller is the member, or a key of it, and they do not contain its own
            address.
    """
    async with context.transaction() as session:
        member = await _find(session, context, Member.member_id == request.member_id)
        if member.role == "owner" and context.caller.role != "owner":
            raise ForbiddenError(
                "only an owner limits an owner", remedy="Ask an owner of the organization."
            )
        is_own = member.member_id == context.caller.member_id
        require_own_source(context, request.networks if is_own else (), force=request.force)
        member.networks = list(request.networks)
        session.add(member)
        session.add(
            audit_event(
                context,
                "organization.updateMemberNetworks",
                member.user_id,
                networks=member.networks,
            )
        )
    return True


async def remove(context: Context, request: ChosenUser) -> bool:
    """Remove a member: sessions and keys of the person end for this organization at once."""
    async with context.transaction() as session:
        member = await _find(session, context, Member.user_id == request.user_id)
        await _require_allowed(session, context, member, None)
        session.add(audit_event(context, "user.remove", member.user_id, role=member.role))
        await session.flush()
        await session.delete(member)
    return True


async def leave(context: Context) -> None:
    """Leave the caller's organization.

    Raises:
        LastOwnerError: the caller is its last owner.
    """
    async with context.transaction() as session:
        member = await _find(session, context, Member.member_id == context.caller.actor_id)
        await _require_owner_left(session, member)
        session.add(audit_event(context, "user.leave", member.user_id, role=member.role))
        await session.flush()
        await session.delete(member)


async def _find(session: AsyncSession, context: Context, condition: Any) -> Member:
    query = select(Member).where(Member.organization_id == context.organization_id, condition)
    member = (await session.exec(query)).one_or_none()
    if member is None:
        raise NotFoundError("Member not found")
    return member


async def _require_allowed(
    session: AsyncSession, context: Context, member: Member, role: str | None
) -> None:
    """Check a change of the member's role to another one; ``None`` removes the member."""
    if "owner" in {member.role, role} and context.caller.role != "owner":
        raise ForbiddenError(
            "only an owner changes who is an owner", remedy="Ask an owner of the organization."
        )
    if role != "owner":
        await _require_owner_left(session, member)


async def _require_owner_left(session: AsyncSession, member: Member) -> None:
    owners = (
        select(Member.member_id)
        .where(Member.organization_id == member.organization_id, Member.role == "owner")
        .order_by(col(Member.member_id))
        .with_for_update()
    )
    # Locked in one order, so that the last two owners cannot both leave at once.
    if list((await session.exec(owners)).all()) == [member.member_id]:
        raise LastOwnerError(
            "this is the organization's last owner", remedy="Make another member an owner first."
        )


def _show(row: RowMapping) -> ListedMember:
    user = UserOutput(id=row["user_id"], name=row["name"], email=row["email"])
    return ListedMember.model_validate({**row, "user": user})


PROCEDURES = (
    Procedure("user.all", "query", NoInput, list[ListedMember], get_all),
    Procedure("user.remove", "mutation", ChosenUser, bool, remove, "admin"),
    Procedure(
        "organization.updateMemberNetworks",
        "mutation",
        ChangeNetworks,
        bool,
        update_networks,
        "admin",
    ),
    Procedure("organization.updateMemberRole", "mutation", ChangeRole, bool, update_role, "admin"),
)
