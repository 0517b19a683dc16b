"""The limits of an API key: the procedures that it may call, and the networks that may use it."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from api.procedure.context import Caller
from shared.errors import ForbiddenError, InvalidInputError

ALL_OF_ROUTER = ".*"
"""The end of an entry that stands for all procedures of a router: ``registry.*``."""


def require_procedure(caller: Caller, name: str) -> None:
    """Raise `ForbiddenError` if the key is limited to other procedures."""
    if caller.procedures and not is_covered(name, caller.procedures):
        raise ForbiddenError(
            f"this API key may not call {name}",
            remedy="Use a key whose procedures are not limited, or that names this one.",
        )


def require_network(networks: Sequence[str], host: str) -> None:
    """Raise `ForbiddenError` if the key is limited to networks without this address."""
    if networks and not _is_within(host, networks):
        raise ForbiddenError(
            f"this API key may not be used from {host or 'an unknown address'}",
            remedy="Use it from one of its networks, or create a key for this network.",
        )


def is_covered(entry: str, by: Iterable[str]) -> bool:
    """Return whether the entries allow all that this entry does."""
    router = entry.partition(".")[0]
    return any(each in {entry, f"{router}{ALL_OF_ROUTER}"} for each in by)


def require_known(entries: Iterable[str], names: Iterable[str]) -> None:
    """Raise `InvalidInputError` for an entry that names no procedure."""
    known = {*names} | {f"{name.partition('.')[0]}{ALL_OF_ROUTER}" for name in names}
    for entry in entries:
        if entry not in known:
            raise InvalidInputError(
                f"there is no procedure {entry}",
                remedy="Name a procedure as registry.all, or all of a router as registry.*.",
            )


def narrow(
    caller: Caller, procedures: Sequence[str], networks: Sequence[str]
) -> dict[str, list[str]]:
    """Return the limits of a key that the caller creates: by default the caller's own.

    Raises:
        ForbiddenError: the new key would be allowed more than the caller's.
    """
    wider = [each for each in procedures if not is_covered(each, caller.procedures)]
    if caller.procedures and wider:
        raise ForbiddenError(
            f"this API key may not call {wider[0]}, so it creates no key that may",
            remedy="Create the key with one whose procedures are not limited.",
        )
    outside = [each for each in networks if not _is_within(each, caller.networks)]
    if caller.networks and outside:
        raise ForbiddenError(
            f"this API key may not be used from {outside[0]}, so it creates no key that may",
            remedy="Create the key with one whose networks are not limited.",
        )
    return {
        "procedures": list(procedures or caller.procedures),
        "networks": list(networks or caller.networks),
    }


def _is_within(text: str, networks: Iterable[str]) -> bool:
    """Return whether an address or a network is a part of one of the networks."""
    try:
        inner = ip_network(_unmapped(text.partition("%")[0]))
    except ValueError:
        return False
    return any(
        inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
        for outer in map(ip_network, networks)
    )


def _unmapped(text: str) -> str:
    """Return the IPv4 address of one that is mapped into IPv6; another text as it is."""
    if "/" in text:
        return text
    address = ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
