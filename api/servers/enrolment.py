"""``server.enroll``: a worker presents its join token once, with its public key and verifier.

``server.isRemoved`` reports a removed server to a worker that the database refuses.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from sqlalchemy import text

from api.fields.shapes import Id, Input, Output
from api.procedure.auth import proof_of
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.source_networks import require_server_source
from shared.errors import InvalidInputError, SetupError, UnauthenticatedError, UnmetConditionError
from shared.models import Organization, Server
from shared.networks import is_loopback
from shared.vault import PublicKey, SealContext

JOIN_TOKEN_PREFIX = "wharf_join_"  # noqa: S105 - not a token, only its prefix
JOIN_TOKEN_LIFETIME = timedelta(minutes=15)

_B64_32_BYTES = "[A-Za-z0-9+/]{43}="
VERIFIER = re.compile(
    rf"SCRAM-SHA-256\$(?P<iterations>[0-9]{{4,7}}):[A-Za-z0-9+/]{{16,128}}={{0,2}}"
    rf"\${_B64_32_BYTES}:{_B64_32_BYTES}"
)
"""The stored form of a password (PostgreSQL's manual, pg_authid). PostgreSQL would take any other
text as a password."""

MIN_ITERATIONS = 4096

ENROLL = text("SELECT server_enroll(:token, :key, :verifier, :broker, :key_id, :seen)")


def _require_verifier(verifier: SecretStr) -> SecretStr:
    match = VERIFIER.fullmatch(verifier.get_secret_value())
    if match is None or int(match["iterations"]) < MIN_ITERATIONS:
        raise ValueError("Invalid string: must be a SCRAM-SHA-256 verifier")
    return verifier


class Enroll(Input):
    """``brokerPasswordHash`` is a SHA-256; without it the worker uses the broker's shared user."""

    join_token: Annotated[SecretStr, Field(min_length=1, max_length=200)]
    public_key: Annotated[str, Field(max_length=200)]
    role_verifier: Annotated[SecretStr, Field(max_length=500), AfterValidator(_require_verifier)]
    broker_password_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class EnrolledServer(Input):
    server_id: Id


class Enrolled(Output):
    """The server's id, and the addresses of database and broker without passwords."""

    server_id: str
    organization_id: str
    database_url: str
    broker_url: str | None


async def enroll(context: Context, request: Enroll) -> Enrolled:
    """Bind a server's key and passwords to its join token, once.

    Raises:
        AddressRefusedError: the worker's address is outside of the server's networks; the token
            stays valid.
    """
    resources = context.resources
    if resources.server_database_url is None:
        raise UnmetConditionError(
            "no_server_address",
            "the database's address for servers is not set",
            remedy="Set WHARF_SERVER_DATABASE_URL for the API.",
        )
    public_key = _require_key(request.public_key)
    token = proof_of(request.join_token.get_secret_value())
    verifier = request.role_verifier.get_secret_value()
    resources.guesses.require_room(context.address, token)
    async with context.transaction() as session:
        connection = await session.connection()
        values = {
            "token": token,
            "key": public_key,
            "verifier": verifier,
            "broker": request.broker_password_hash,
            "key_id": PublicKey.parse(public_key).key_id,
            "seen": None if is_loopback(context.host) else context.host or None,
        }
        server_id = (await connection.execute(ENROLL, values)).scalar_one()
        if server_id is None:
            resources.guesses.fail(context.address, token)
            raise UnauthenticatedError(
                "the join token is unknown, was used, or is older than 15 minutes",
                remedy="Create another one: wharf server create NAME --renew.",
            )
        server = await session.get_one(Server, server_id)
        organization = await session.get_one(Organization, server.organization_id)
        limits = (server.networks, organization.server_networks)
        await require_server_source(resources, server.server_id, limits, context.host)
    return Enrolled(
        server_id=server.server_id,
        organization_id=server.organization_id,
        database_url=resources.server_database_url,
        broker_url=resources.server_broker_url,
    )


def _require_key(text: str) -> str:
    """Return the key if it can be sealed to: not all points can (RFC 7748, section 6.1)."""
    try:
        key = PublicKey.parse(text)
        key.seal("", SealContext("login", "", "", "", ""))
    except (SetupError, ValueError):
        raise InvalidInputError("publicKey is not a public key of a server") from None
    return str(key)


async def is_removed(context: Context, request: EnrolledServer) -> bool:
    """Report whether a server was removed, to a worker that the database refuses."""
    async with context.transaction() as session:
        server = await session.get(Server, request.server_id)
    return server is not None and server.removed_at is not None


PROCEDURES = (
    Procedure("server.enroll", "mutation", Enroll, Enrolled, enroll, role=None),
    Procedure("server.isRemoved", "query", EnrolledServer, bool, is_removed, role=None),
)
