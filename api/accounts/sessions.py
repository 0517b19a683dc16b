"""Sessions of people who signed in: begin, find, end. A token is shown once, in a cookie."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb
from pydantic import SecretStr

from api.accounts.attempts import Method, recorded
from api.accounts.passwords import Derivation, Derived, derive, make_salt
from api.accounts.second_factor import find_step, use_step
from api.errors import WrongSignInError
from api.procedure.audit import insert_audit_event
from api.procedure.auth import hash_secret, make_secret, proof_of
from api.procedure.context import PROVE, Caller, Resources
from shared.database import Connection, Pool
from shared.errors import ForbiddenError, InvalidInputError
from shared.ids import make_id
from shared.models import AuditEvent

if TYPE_CHECKING:
    from api.accounts.oidc import Identity

TOKEN_PREFIX = "whs_"  # noqa: S105 - not a secret
TOKEN = re.compile(f"{TOKEN_PREFIX}[A-Za-z0-9_-]{{43}}")
"""A token of ours; another cookie costs no query."""

NO_SALT = bytes(16)
"""The salt for an address without a user, so that its refusal takes as long as another."""

FIND_USER = "SELECT user_id, salt, derivation, second_factor FROM user_account WHERE email = %s"
FIND_INVITATION = """
SELECT invitation_id FROM invitation i WHERE token_hash = %s AND invitation_is_open(i)
"""
BEGIN = """
SELECT session_begin(%(session_id)s, %(user_id)s, %(proof)s, %(token_hash)s, %(address)s,
                     %(user_agent)s, %(organization_id)s) AS begun
"""
FIND = """
WITH found AS (
  SELECT s.session_id, s.user_id, m.member_id AS actor_id, m.member_id, m.organization_id, m.role,
         m.networks AS member_networks, o.networks AS organization_networks,
         u.email, u.name, o.name AS organization
    FROM user_session s JOIN member m USING (user_id, organization_id)
    JOIN user_account u USING (user_id) JOIN organization o USING (organization_id)
   WHERE s.token_hash = %s AND session_is_valid(s)
), used AS (
  UPDATE user_session SET last_used_at = now() FROM found
   WHERE user_session.session_id = found.session_id
     AND user_session.last_used_at < now() - interval '1 minute'
)
SELECT * FROM found
"""
ACCEPT = """
SELECT accepted_user, accepted_organization
  FROM invitation_accept(%(invitation_proof)s, %(user_id)s, %(email)s, %(name)s, %(salt)s,
                         %(derivation)s, %(proof)s)
"""
BEGIN_BY_PROVIDER = """
SELECT joined FROM session_begin_by_provider(
  %(provider_proof)s, %(invitation_proof)s, %(session_id)s, %(email)s, %(name)s, %(token_hash)s,
  %(address)s, %(user_agent)s)
"""
END = "SELECT session_end(%s, %s)"
NOBODY_S_ID = "none"
"""The id for an address without a user, so that its refusal takes as long as another."""


@dataclass(frozen=True)
class Browser:
    """The browser of a request, as the list of sessions shows it."""

    address: str
    user_agent: str


@dataclass(frozen=True)
class SignedIn:
    """A session: its member as a caller, and who that is."""

    caller: Caller
    email: str
    name: str
    organization: str


@dataclass(frozen=True)
class SignIn:
    """The fields of the sign-in form; ``code`` is the one-time password of a second factor."""

    email: str
    password: SecretStr
    code: str = ""


async def sign_in(resources: Resources, request: SignIn, browser: Browser) -> str:
    """Check the password and the second factor; return the token of a new session.

    Raises:
        WrongSignInError: the address, the password or the code is wrong, or the user belongs to no
            organization. The answer does not say which.
        CodeNeededError: the password is right, and the user has a second factor.
        TooManyFailuresError: too many of those for this account, or from this address.
    """
    email = request.email.strip().lower()
    async with _limited(resources, "password", email, browser):
        async with resources.pool.connection() as connection:
            user = await (await connection.execute(FIND_USER, (email,))).fetchone()
        salt, derivation = (user["salt"], user["derivation"]) if user else (NO_SALT, None)
        derived = await derive(request.password, salt, derivation)
        user_id = await _require_user(resources, user, derived, request.code)
        return await _begin(resources.pool, user_id, derived.proof, browser)


@asynccontextmanager
async def _limited(
    resources: Resources, method: Method, email: str, browser: Browser
) -> AsyncIterator[None]:
    """Bound the wrong passwords of an account and of an address, and record the attempt.

    What was right does not count.

    An address from which the account has signed in within the hour is not held up by others.

    Raises:
        TooManyFailuresError: there were too many; nothing was checked.
    """
    limits, both = resources.sign_ins, hash_secret(f"{email} {browser.address}")
    subjects = (f"account {email}", browser.address)
    was_known = limits.is_good(both)
    async with recorded(resources, method, email, browser.address):
        for subject in subjects:
            limits.take(subject, both)
        limits.forget(both)  # one try at a time is exempt
        try:
            yield
        except (WrongSignInError, InvalidInputError):
            raise
        except BaseException:
            for subject in subjects:
                limits.give_back(subject)
            if was_known:
                limits.succeed(both)
            raise
    for subject in subjects:
        limits.give_back(subject)
    limits.succeed(both)


async def _require_user(
    resources: Resources, user: dict[str, Any] | None, derived: Derived, code: str
) -> str:
    """Return the user's id once the second factor is right; the database checks the password."""
    if user is None:
        return NOBODY_S_ID
    if user["second_factor"] is not None:
        secret = derived.open_factor(user["second_factor"])
        if secret is None:
            raise WrongSignInError
        step = find_step(secret, code)
        await use_step(resources.pool, user["user_id"], derived.proof, step)
    return str(user["user_id"])


async def _begin(
    pool: Pool,
    user_id: str,
    proof: bytes,
    browser: Browser,
    joined: str | None = None,
) -> str:
    """Begin a session, in the organization that was ``joined`` now; return its token."""
    token, session_id = make_secret(TOKEN_PREFIX), make_id()
    values = {
        "session_id": session_id,
        "user_id": user_id,
        "proof": proof,
        "token_hash": hash_secret(token),
        "address": browser.address,
        "user_agent": browser.user_agent,
        "organization_id": joined,
    }
    action = "organization.acceptInvitation" if joined else "user.signIn"
    async with pool.connection() as connection, connection.transaction():
        row = await (await connection.execute(BEGIN, values)).fetchone()
        if row is None or not row["begun"]:
            raise WrongSignInError
        await _record(connection, token, action, {"address": browser.address})
    return token


async def begin_by_provider(
    pool: Pool, proof: bytes, person: "Identity", invitation: str, browser: Browser
) -> str:
    """Begin a session of a person whom the OIDC provider vouches for; return its token.

    An ``invitation`` (its token) that was opened is accepted; so is one for the address, if the
    person is no member yet.

    Raises:
        ForbiddenError: the person is no member, and has no such invitation.
    """
    token = make_secret(TOKEN_PREFIX)
    values = {
        "provider_proof": proof,
        "invitation_proof": proof_of(invitation) if invitation else None,
        "session_id": make_id(),
        "email": person.email,
        "name": person.name,
        "token_hash": hash_secret(token),
        "address": browser.address,
        "user_agent": browser.user_agent,
    }
    async with pool.connection() as connection, connection.transaction():
        row = await (await connection.execute(BEGIN_BY_PROVIDER, values)).fetchone()
        if row is None:
            raise ForbiddenError(
                f"nobody here has the e-mail address {person.email}, or no open invitation for it",
                remedy="Ask an owner or an administrator of the organization for an invitation.",
            )
        action = "organization.acceptInvitation" if row["joined"] else "user.signIn"
        await _record(connection, token, action, {"address": browser.address, "by": "provider"})
    return token


NOT_VALID = InvalidInputError(
    "this invitation is not valid for this address and password",
    remedy="Use the address that was invited, and your own password if you have an account. If the "
    "link was used or has expired, ask for a new one.",
)


@dataclass(frozen=True)
class NewUser:
    """The fields of an invited person; who has an account gives its password."""

    name: str
    email: str
    password: SecretStr
    code: str = ""


async def join(resources: Resources, invitation: str, user: NewUser, browser: Browser) -> str:
    """Accept an invitation by its token; return the token of a new session.

    Raises:
        InvalidInputError: the invitation is used up, expired or for another address, or its inviter
            may not invite any more; or the address belongs to a user with another password.
        WrongSignInError, CodeNeededError: the user has a second factor.
        TooManyFailuresError: too many of those for this account, or from this address.
    """
    email = user.email.strip().lower()
    async with _limited(resources, "invitation", email, browser):
        async with resources.pool.connection() as connection:
            found = await connection.execute(FIND_INVITATION, (hash_secret(invitation),))
            if await found.fetchone() is None:
                raise NOT_VALID
            known = await (await connection.execute(FIND_USER, (email,))).fetchone()
        salt, derivation = make_salt(), Derivation().model_dump()
        if known is not None:
            salt, derivation = known["salt"], known["derivation"]
        derived = await derive(user.password, salt, derivation)
        known_id = await _require_user(resources, known, derived, user.code) if known else None
        values = {
            "invitation_proof": proof_of(invitation),
            "user_id": known_id,
            "email": email,
            "name": user.name,
            "salt": salt,
            "derivation": Jsonb(derivation),
            "proof": derived.proof,
        }
        async with resources.pool.connection() as connection:
            row = await (await connection.execute(ACCEPT, values)).fetchone()
        if row is None:
            raise NOT_VALID
        joined = row["accepted_organization"]
        return await _begin(resources.pool, row["accepted_user"], derived.proof, browser, joined)


async def find_session(pool: Pool, token: str | None) -> SignedIn | None:
    """Return the session of a token; record its use, once a minute at most."""
    if not token or not TOKEN.fullmatch(token):
        return None
    async with pool.connection() as connection:
        return await _find(connection, token)


async def _find(connection: Connection, token: str) -> SignedIn | None:
    row = await (await connection.execute(FIND, (hash_secret(token),))).fetchone()
    if row is None:
        return None
    user = {name: row.pop(name) for name in ("email", "name", "organization")}
    return SignedIn(Caller(**row, proof=proof_of(token).hex()), **user)


async def end_session(pool: Pool, caller: Caller, *, everywhere: bool = False) -> None:
    """End the caller's session, or all sessions of the user."""
    async with pool.connection() as connection, connection.transaction():
        await speak(connection, caller.proof)
        await insert_event(connection, caller, "user.signOut", {"everywhere": everywhere})
        session_id = None if everywhere else caller.session_id
        await connection.execute(END, (bytes.fromhex(caller.proof), session_id))


async def _record(connection: Connection, token: str, action: str, data: dict[str, Any]) -> None:
    found = await _find(connection, token)
    if found is not None:
        await speak(connection, found.caller.proof)
        await insert_event(connection, found.caller, action, data)


async def speak(connection: Connection, proof: str) -> None:
    await connection.execute(PROVE, (proof,))


async def insert_event(
    connection: Connection, caller: Caller, action: str, data: dict[str, Any]
) -> None:
    """Record an action of a person on the own account, in the transaction of the caller's proof."""
    event = AuditEvent(
        audit_event_id=make_id(),
        organization_id=caller.organization_id,
        actor_id=caller.actor_id,
        action=action,
        object_id=caller.user_id,
        data=data,
    )
    await insert_audit_event(connection, event)
