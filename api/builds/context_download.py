"""Give a context to the one attempt that may have it, once."""

import asyncio

from psycopg import Rollback
from pydantic import SecretStr

from api.fields.shapes import Id, Input, Output
from api.procedure.auth import proof_of
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.procedure.source_networks import may_be_used, require_server_source
from shared.errors import NotFoundError

TAKE = """
UPDATE context_token t SET used_at = clock_timestamp()
  FROM job j, context c, server s, organization o
 WHERE t.token_hash = %s AND t.context_id = %s AND t.used_at IS NULL
   AND j.job_id = t.job_id AND j.attempt = t.attempt AND j.state = 'running'
   AND c.context_id = t.context_id AND c.organization_id = j.organization_id
   AND s.server_id = j.server_id AND o.organization_id = j.organization_id
RETURNING c.context_id, s.server_id, s.networks, o.server_networks
"""


class FetchContext(Input):
    context_id: Id
    token: SecretStr


class Fetched(Output):
    context_id: str


async def fetch_context(context: Context, request: FetchContext) -> Fetched:
    """Consume the token of a running attempt. The error does not say what is wrong with it.

    Raises:
        NotFoundError: there is no such token for this context, it was used, its attempt does not
            run, or the file is gone.
        AddressRefusedError: the worker's address is outside of the server's networks; the token
            stays valid.
    """
    store = context.resources.contexts
    token = proof_of(request.token.get_secret_value())
    guesses = context.resources.guesses
    guesses.require_room(context.address, token)
    pool = context.resources.pool
    async with pool.connection() as connection, connection.transaction():
        taken = await (await connection.execute(TAKE, (token, request.context_id))).fetchone()
        limits = (taken["networks"], taken["server_networks"]) if taken is not None else ()
        if not may_be_used(limits, context.host):
            raise Rollback
    if taken is not None:
        await require_server_source(context.resources, taken["server_id"], limits, context.host)
    if store is None or taken is None:
        guesses.fail(context.address, token)
        raise NotFoundError("Not found")
    if not await asyncio.to_thread(store.path(taken["context_id"]).is_file):
        raise NotFoundError("Not found")
    return Fetched(context_id=taken["context_id"])


FETCH = Procedure("contexts", "query", FetchContext, Fetched, fetch_context, role=None)
