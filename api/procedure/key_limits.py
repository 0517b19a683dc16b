"""The limits of an API key: the procedures that it may call, and those of the keys it makes."""

from collections.abc import Iterable, Sequence

from api.fields.networks import intersect, is_within
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

    Its networks are those of the caller's key and of the caller as a member: of both, where both
    are limited, as the new key may belong to no member.

    Raises:
        ForbiddenError: the new key would be allowed more than the caller's, or could be used from
            nowhere.
    """
    wider = [each for each in procedures if not is_covered(each, caller.procedures)]
    if caller.procedures and wider:
        raise ForbiddenError(
            f"this API key may not call {wider[0]}, so it creates no key that may",
            remedy="Create the key with one whose procedures are not limited.",
        )
    for own in (caller.networks, caller.member_networks):
        outside = [each for each in networks if not is_within(each, own)]
        if own and outside:
            raise ForbiddenError(
                f"you may not use {outside[0]}, so you create no key that may",
                remedy="Create the key with one whose networks are not limited.",
            )
    return {
        "procedures": list(procedures or caller.procedures),
        "networks": list(networks or _own_networks(caller)),
    }


def _own_networks(caller: Caller) -> Sequence[str]:
    """Return the networks from which the caller may use this key."""
    of_key, of_member = caller.networks, caller.member_networks
    if not (of_key and of_member):
        return of_key or of_member
    common = intersect(of_key, of_member)
    if not common:
        raise ForbiddenError(
            "the networks of this API key and yours have no address in common, "
            "so it creates no key",
            remedy="Create the key with one that is used from your networks.",
        )
    return common
