"""A person's own account: name, password, second factor, sessions, organizations.

These act on the person who signed in, so that only the console offers them: an API key is no
person.
"""

from typing import Any

from psycopg.types.json import Jsonb
from pydantic import SecretStr
from sqlmodel import select

from api.accounts.passwords import Derivation, Derived, derive, make_salt
from api.accounts.second_factor import find_step, use_step
from api.accounts.sessions import insert_event, speak
from api.errors import CodeNeededError, WrongSignInError
from api.procedure.audit import audit_event
from api.procedure.context import Caller, Context, Resources
from shared.errors import ConflictError, InvalidInputError, NotFoundError
from shared.models import ApiKey

FIND_OWN = """
SELECT user_id, email, name, salt, derivation, second_factor FROM user_account WHERE user_id = %s
"""
CHANGE = """
SELECT user_change_password(%(user_id)s, %(proof)s, %(salt)s, %(derivation)s, %(new_proof)s,
                            %(second_factor)s, %(session_id)s) AS changed
"""
HAS_PROOF = "SELECT user_has_proof(%s, %s) AS proven"
SET_FACTOR = "SELECT user_set_second_factor(%s, %s, %s) AS changed"
SET_NAME = "SELECT user_change_name(%s, %s)"
SESSIONS = """
SELECT session_id, address, user_agent, created_at, last_used_at FROM user_session s
 WHERE user_id = %s AND session_is_valid(s) ORDER BY last_used_at DESC
"""
END_ONE = "SELECT session_end(%s, %s)"
ORGANIZATIONS = """
SELECT o.organization_id, o.name, m.role FROM member m JOIN organization o USING (organization_id)
 WHERE m.user_id = %s ORDER BY m.created_at, o.organization_id
"""
SWITCH = "SELECT session_switch(%s, %s) AS switched"
CREATE = "SELECT organization_create(%s) AS created"

WRONG_PASSWORD = InvalidInputError(
    "the present password is wrong", remedy="Enter the password with which you signed in."
)


WRONG_CODE = InvalidInputError(
    "the code is wrong, or was used",
    remedy="Enter the code that the app shows now for Wharfinger. A code is accepted once.",
)


async def change_name(resources: Resources, caller: Caller, name: str) -> None:
    """Change the name that others see."""
    async with resources.pool.connection() as connection:
        await connection.execute(SET_NAME, (bytes.fromhex(caller.proof), name))


async def change_password(
    resources: Resources, caller: Caller, password: SecretStr, new: SecretStr
) -> None:
    """Change the password; all other sessions of the person end.

    Raises:
        InvalidInputError: the present password is wrong.
    """
    user, derived = await _prove(resources, caller, password)
    salt, derivation = make_salt(), Derivation().model_dump()
    changed = await derive(new, salt, derivation)
    factor = None
    if user["second_factor"] is not None:
        secret = derived.open_factor(user["second_factor"])
        if secret is None:
            raise WRONG_PASSWORD
        factor = changed.seal_factor(secret)
    values = {
        "user_id": caller.user_id,
        "proof": derived.proof,
        "salt": salt,
        "derivation": Jsonb(derivation),
        "new_proof": changed.proof,
        "second_factor": factor,
        "session_id": caller.session_id,
    }
    async with resources.pool.connection() as connection, connection.transaction():
        await speak(connection, caller.proof)
        await insert_event(connection, caller, "user.changePassword", {})
        row = await (await connection.execute(CHANGE, values)).fetchone()
        if row is None or not row["changed"]:
            raise WRONG_PASSWORD
    resources.sign_ins.give_back(f"account {caller.user_id}")


async def set_second_factor(
    resources: Resources, caller: Caller, password: SecretStr, secret: str, code: str
) -> None:
    """Require one-time passwords of this secret from now on; the code proves that the app has it.

    Raises:
        InvalidInputError: the password or the code is wrong.
    """
    step = _find_step(secret, code)
    _, derived = await _prove(resources, caller, password)
    await _use_step(resources, caller, derived, step)
    await _store_factor(resources, caller, derived, derived.seal_factor(secret))


async def remove_second_factor(
    resources: Resources, caller: Caller, password: SecretStr, code: str
) -> None:
    """Let the password alone be enough again.

    Raises:
        InvalidInputError: the password or the code is wrong.
    """
    user, derived = await _prove(resources, caller, password)
    secret = derived.open_factor(user["second_factor"]) if user["second_factor"] else None
    if secret is None:
        raise WRONG_PASSWORD
    await _use_step(resources, caller, derived, _find_step(secret, code))
    await _store_factor(resources, caller, derived, None)


async def require_password(resources: Resources, caller: Caller, password: SecretStr) -> None:
    """Ask for the password again before something that outlives the session.

    Raises:
        InvalidInputError: the password is wrong.
        TooManyFailuresError: too many wrong ones were given.
    """
    _, derived = await _prove(resources, caller, password)
    await _require_proof(resources, caller, derived)
    resources.sign_ins.give_back(f"account {caller.user_id}")


def _find_step(secret: str, code: str) -> int:
    try:
        return find_step(secret, code)
    except (CodeNeededError, WrongSignInError):
        raise WRONG_CODE from None


async def _use_step(resources: Resources, caller: Caller, derived: Derived, step: int) -> None:
    await _require_proof(resources, caller, derived)
    try:
        await use_step(resources.pool, caller.user_id or "", derived.proof, step)
    except WrongSignInError:
        raise WRONG_CODE from None


async def _require_proof(resources: Resources, caller: Caller, derived: Derived) -> None:
    async with resources.pool.connection() as connection:
        found = await connection.execute(HAS_PROOF, (caller.user_id, derived.proof))
        row = await found.fetchone()
    if row is None or not row["proven"]:
        raise WRONG_PASSWORD


async def _store_factor(
    resources: Resources, caller: Caller, derived: Derived, factor: bytes | None
) -> None:
    async with resources.pool.connection() as connection, connection.transaction():
        await speak(connection, caller.proof)
        action = "user.setSecondFactor" if factor else "user.removeSecondFactor"
        await insert_event(connection, caller, action, {})
        values = (caller.user_id, derived.proof, factor)
        row = await (await connection.execute(SET_FACTOR, values)).fetchone()
        if row is None or not row["changed"]:
            raise WRONG_PASSWORD
    resources.sign_ins.give_back(f"account {caller.user_id}")


async def _prove(
    resources: Resources, caller: Caller, password: SecretStr
) -> tuple[dict[str, Any], Derived]:
    """Return the caller's row and the secrets of the password, which the database checks."""
    resources.sign_ins.take(f"account {caller.user_id}", b"")
    user = await find_own(resources, caller)
    return user, await derive(password, user["salt"], user["derivation"])


async def find_own(resources: Resources, caller: Caller) -> dict[str, Any]:
    """Return the caller's row."""
    async with resources.pool.connection() as connection:
        row = await (await connection.execute(FIND_OWN, (caller.user_id,))).fetchone()
    if row is None:
        raise NotFoundError("User not found")
    return row


async def find_sessions(resources: Resources, caller: Caller) -> list[dict[str, Any]]:
    """Return the caller's sessions, the one that was used last first."""
    async with resources.pool.connection() as connection:
        return await (await connection.execute(SESSIONS, (caller.user_id,))).fetchall()


async def end_other(resources: Resources, caller: Caller, session_id: str) -> None:
    """End one of the caller's sessions."""
    async with resources.pool.connection() as connection:
        await connection.execute(END_ONE, (bytes.fromhex(caller.proof), session_id))


async def remove_own_key(context: Context, api_key_id: str) -> None:
    """Remove a personal key of the caller.

    Raises:
        NotFoundError: there is no such key of the caller.
    """
    query = select(ApiKey).where(
        ApiKey.api_key_id == api_key_id, ApiKey.member_id == context.caller.actor_id
    )
    async with context.transaction() as session:
        key = (await session.exec(query)).one_or_none()
        if key is None:
            raise NotFoundError("API key not found")
        session.add(audit_event(context, "apiKey.remove", key.api_key_id, name=key.name))
        await session.delete(key)


async def find_organizations(resources: Resources, caller: Caller) -> list[dict[str, Any]]:
    """Return the organizations of which the caller is a member, with the role in each."""
    async with resources.pool.connection() as connection:
        return await (await connection.execute(ORGANIZATIONS, (caller.user_id,))).fetchall()


async def switch(resources: Resources, caller: Caller, organization_id: str) -> None:
    """Continue the session in another organization of the caller.

    Raises:
        NotFoundError: the caller is no member of such an organization.
    """
    values = (bytes.fromhex(caller.proof), organization_id)
    async with resources.pool.connection() as connection:
        row = await (await connection.execute(SWITCH, values)).fetchone()
    if row is None or not row["switched"]:
        raise NotFoundError("Organization not found")


async def create_organization(resources: Resources, caller: Caller, name: str) -> str:
    """Create an organization whose owner is the caller; return its id."""
    async with resources.pool.connection() as connection, connection.transaction():
        await speak(connection, caller.proof)
        row = await (await connection.execute(CREATE, (name,))).fetchone()
        if row is None or row["created"] is None:
            raise ConflictError(
                "you belong to as many organizations as a person may", remedy="Leave one of them."
            )
        await insert_event(connection, caller, "organization.create", {"name": name})
    return str(row["created"])
