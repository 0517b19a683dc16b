"""People: users, their memberships, sessions and invitations.

The API proves a password as it proves an API key: it derives a secret from the password with the
user's salt (argon2id), and the database holds only the SHA-256 of that secret's proof. Functions
of the database alone begin sessions (``sessions.sql``), so the API's role cannot make one.
"""

from typing import Any

from sqlalchemy import BigInteger, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from shared.models.accounts.organization import ROLES
from shared.models.columns import Moment, document, ids, moment, one_of


class User(SQLModel, table=True):
    """A person who signs in; ``email`` is in lower case.

    ``derivation`` are the parameters of argon2id. ``second_factor`` is the secret of one-time
    passwords, encrypted with a key that only the password gives; null: there is none. Its codes are
    accepted after ``second_factor_step`` only. A refused sign-in was recorded at ``refused_at``.
    """

    __tablename__ = "user_account"

    user_id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    name: str
    salt: bytes = Field(sa_type=LargeBinary)
    derivation: dict[str, Any] = document(nullable=False)
    proof_hash: bytes = Field(sa_type=LargeBinary)
    second_factor: bytes | None = Field(default=None, sa_type=LargeBinary)
    second_factor_step: int | None = Field(default=None, sa_type=BigInteger)
    refused_at: Moment = moment()
    created_at: Moment = moment(default_now=True)
    signed_in_at: Moment = moment()


class Member(SQLModel, table=True):
    """A user's membership of an organization.

    A ``viewer`` reads only, a ``member`` also submits work, an ``admin`` also changes what is
    stored, an ``owner`` also names owners. The person and its keys are used from ``networks`` only;
    if it is empty, from all.
    """

    __table_args__ = (one_of("role", ROLES), UniqueConstraint("organization_id", "user_id"))

    member_id: str = Field(primary_key=True)
    organization_id: str = Field(foreign_key="organization.organization_id", ondelete="CASCADE")
    user_id: str = Field(foreign_key="user_account.user_id", ondelete="CASCADE", index=True)
    role: str
    networks: list[str] = ids()
    created_at: Moment = moment(default_now=True)


class Invitation(SQLModel, table=True):
    """A link that makes a person a member, once; without ``email`` for whoever opens it first."""

    __table_args__ = (one_of("role", ROLES),)

    invitation_id: str = Field(primary_key=True)
    organization_id: str = Field(
        foreign_key="organization.organization_id", ondelete="CASCADE", index=True
    )
    email: str | None = None
    role: str
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    invited_by: str | None = None
    created_at: Moment = moment(default_now=True)
    expires_at: Moment = moment(default_now=True)
    accepted_at: Moment = moment()


class UserSession(SQLModel, table=True):
    """A signed-in browser, in one organization at a time; ends after 12 hours without use."""

    __tablename__ = "user_session"

    session_id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="user_account.user_id", ondelete="CASCADE", index=True)
    organization_id: str = Field(foreign_key="organization.organization_id", ondelete="CASCADE")
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    address: str = ""
    user_agent: str = ""
    created_at: Moment = moment(default_now=True)
    last_used_at: Moment = moment(default_now=True)


class PasswordReset(SQLModel, table=True):
    """A link for a new password, once, within an hour; without ``made_by`` the operator's."""

    __tablename__ = "password_reset"

    reset_id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="user_account.user_id", ondelete="CASCADE", index=True)
    token_hash: bytes = Field(sa_type=LargeBinary, unique=True)
    made_by: str | None = None
    created_at: Moment = moment(default_now=True)
    expires_at: Moment = moment(default_now=True)
    used_at: Moment = moment()


class SignInProvider(SQLModel, table=True):
    """The OIDC provider that signs people in; ``proof_hash`` is of the API's client secret."""

    __tablename__ = "sign_in_provider"

    issuer: str = Field(primary_key=True)
    proof_hash: bytes = Field(sa_type=LargeBinary)
    created_at: Moment = moment(default_now=True)
