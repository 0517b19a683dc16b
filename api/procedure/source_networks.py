"""Source networks: the addresses from which keys, members, organizations and servers are used.

This is the only place that checks them. The address is the client's: behind
``WHARF_TRUSTED_PROXIES`` the one that the proxy names. An empty list limits nothing. A refusal is
in the audit log, once a minute for each caller and address; an IPv6 address counts as its /64
network.
"""

from collections.abc import Iterable, Sequence

from api.errors import AddressRefusedError, WouldLockOutError
from api.fields.effects import FieldWarning
from api.fields.networks import is_within
from api.procedure.context import PROVE, Caller, Context, Resources
from shared.ids import make_id
from shared.networks import network_of

NOT_NEEDED = FieldWarning(
    field="force", message="force has no effect: your own address is not excluded"
)
RECORD = """
INSERT INTO audit_event (audit_event_id, organization_id, actor_id, action, data)
VALUES (%s, %s, %s, 'organization.refuseAddress',
        jsonb_build_object('address', %s::text, 'networksOf', %s::text))
"""
RECORD_SERVER = "SELECT server_address_refused(%s, %s)"


async def require_source(resources: Resources, caller: Caller, host: str) -> None:
    """Check the networks of the key, of its member and of the organization.

    Raises:
        AddressRefusedError: one of them does not contain the address.
    """
    limits = (
        ("this API key", "key", caller.networks),
        ("a session or key of this person", "member", caller.member_networks),
        ("this organization", "organization", caller.organization_networks),
    )
    for subject, whose, networks in limits:
        if networks and not is_within(host, networks):
            if resources.reports.is_due(caller.actor_id or "", network_of(host)):
                await _record(resources, caller, host, whose)
            raise _refuse(subject, host)


async def require_server_source(
    resources: Resources, server_id: str, limits: Iterable[Sequence[str]], host: str
) -> None:
    """Check the networks of a server, and those of all servers of its organization.

    Raises:
        AddressRefusedError: one of them does not contain the address.
    """
    if may_be_used(limits, host):
        return
    if resources.reports.is_due(server_id, network_of(host)):
        async with resources.pool.connection() as connection:
            await connection.execute(RECORD_SERVER, (server_id, host))
    raise _refuse("this server", host)


def may_be_used(limits: Iterable[Sequence[str]], host: str) -> bool:
    """Return whether all of these networks contain the address."""
    return all(not networks or is_within(host, networks) for networks in limits)


def require_own_source(context: Context, networks: Sequence[str], *, force: bool) -> None:
    """Check that new networks of the caller contain its own address, unless that is forced.

    Without networks, as for another member, ``force`` has no effect; so a warning says.

    Raises:
        WouldLockOutError: they do not, so that the caller's next request would be refused.
    """
    excludes = bool(networks) and not is_within(context.host, networks)
    if force and not excludes:
        context.warnings.append(NOT_NEEDED)
    if excludes and not force:
        raise WouldLockOutError(
            f"the networks do not contain your own address, {context.host or 'which is unknown'}",
            remedy="Add it. If you mean to exclude it, send the change again with force: true.",
        )


def _refuse(subject: str, host: str) -> AddressRefusedError:
    return AddressRefusedError(
        f"{subject} may not be used from {host or 'an unknown address'}",
        remedy="Use an address of its networks, or let an administrator add this one to them.",
    )


async def _record(resources: Resources, caller: Caller, host: str, whose: str) -> None:
    values = (make_id(), caller.organization_id, caller.actor_id, host, whose)
    async with resources.pool.connection() as connection, connection.transaction():
        await connection.execute(PROVE, (caller.proof,))
        await connection.execute(RECORD, values)
