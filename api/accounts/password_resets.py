"""Links by which a person chooses a new password: an administrator makes one, it works once."""

from psycopg.types.json import Jsonb
from pydantic import SecretStr

from api.accounts.attempts import recorded
from api.accounts.members import ChosenUser
from api.accounts.passwords import Derivation, derive, make_salt
from api.accounts.sessions import Browser
from api.fields.shapes import Moment, Output
from api.procedure.audit import audit_event
from api.procedure.auth import hash_secret, make_secret, proof_of
from api.procedure.context import Context, Resources
from api.procedure.procedure import Procedure
from api.procedure.sessions import connection_of
from shared.errors import ForbiddenError, InvalidInputError, NotFoundError
from shared.ids import make_id
from shared.models import PasswordReset

TOKEN_PREFIX = "whr_"  # noqa: S105 - not a secret
PATH = "/console/reset/"

IS_MEMBER = "SELECT FROM member WHERE user_id = %s AND organization_id = %s"
MAKE = "SELECT password_reset_make(%s, %s, %s) AS made"
USE = """
SELECT password_reset_use(%(token_proof)s, %(salt)s, %(derivation)s, %(proof)s, %(address)s)
       AS user_id
"""
IS_OPEN = """
SELECT FROM password_reset r WHERE token_hash = %s AND used_at IS NULL AND expires_at > now()
"""
NOT_VALID = InvalidInputError(
    "this link is not valid: it was used, or an hour has passed, or another one was made since",
    remedy="Ask an administrator of the organization for a new link.",
)


class CreatedPasswordReset(Output):
    """A link for a new password; ``path`` of it, below the API's address, is shown only once."""

    reset_id: str
    user_id: str
    expires_at: Moment
    path: str


async def create(context: Context, request: ChosenUser) -> CreatedPasswordReset:
    """Make a link by which a member chooses a new password, once, within an hour.

    All sessions of the member end when it is used, and the second factor is removed. A link that
    was made before stops working. Owners get one from owners only, and members of other
    organizations too only from who is an administrator of all of these.

    Raises:
        NotFoundError: no such member.
        ForbiddenError: the member is the caller, or an owner, or also of another organization.
    """
    token, reset_id = make_secret(TOKEN_PREFIX), make_id()
    async with context.transaction() as session:
        connection = await connection_of(session)
        chosen = (request.user_id, context.organization_id)
        if await (await connection.execute(IS_MEMBER, chosen)).fetchone() is None:
            raise NotFoundError("Member not found")
        made = await connection.execute(MAKE, (reset_id, request.user_id, hash_secret(token)))
        if await made.fetchone() != (True,):
            _refuse(context, request)
        row = await session.get_one(PasswordReset, reset_id)
        session.add(audit_event(context, "user.createPasswordReset", request.user_id))
    return CreatedPasswordReset(
        reset_id=reset_id,
        user_id=request.user_id,
        expires_at=row.expires_at,
        path=f"{PATH}{token}",
    )


def _refuse(context: Context, request: ChosenUser) -> None:
    if request.user_id == context.caller.user_id:
        raise ForbiddenError(
            "nobody makes a link for the own password",
            remedy="Change the password on the page Account, or ask another administrator.",
        )
    raise ForbiddenError(
        "this person is an owner, or belongs to an organization of which you are no administrator",
        remedy="Ask an owner who is in all organizations of this person; or let the operator run "
        "wharf user recover on the machine of wharf control.",
    )


async def require_open(resources: Resources, token: str) -> None:
    """Raise `InvalidInputError` for a link that is used up, over, or unknown."""
    async with resources.pool.connection() as connection:
        found = await connection.execute(IS_OPEN, (hash_secret(token),))
        if await found.fetchone() is None:
            raise NOT_VALID


async def use(resources: Resources, token: str, password: SecretStr, browser: Browser) -> None:
    """Store the new password of a link's person; all sessions of the person end.

    Raises:
        InvalidInputError: the link is used up, over or unknown.
        TooManyFailuresError: too many of those came from this address.
    """
    async with recorded(resources, "reset", "", browser.address):
        resources.sign_ins.take(browser.address, b"")
        await require_open(resources, token)
        salt, derivation = make_salt(), Derivation().model_dump()
        values = {
            "token_proof": proof_of(token),
            "salt": salt,
            "derivation": Jsonb(derivation),
            "proof": (await derive(password, salt, derivation)).proof,
            "address": browser.address,
        }
        async with resources.pool.connection() as connection:
            row = await (await connection.execute(USE, values)).fetchone()
        if row is None or row["user_id"] is None:
            raise NOT_VALID
        resources.sign_ins.give_back(browser.address)


PROCEDURES = (
    Procedure(
        "user.createPasswordReset", "mutation", ChosenUser, CreatedPasswordReset, create, "admin"
    ),
)
