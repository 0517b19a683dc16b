"""Suggest the name that was probably meant, for one that does not exist."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

LIKENESS = 0.8
"""Of 1 for equal names: a name of ten characters may have two wrong ones."""

HOSTS = (
    *("docker.io", "ghcr.io", "quay.io", "gcr.io", "us.gcr.io", "eu.gcr.io", "asia.gcr.io"),
    *("public.ecr.aws", "registry.gitlab.com", "registry.digitalocean.com"),
    *("mcr.microsoft.com", "registry.k8s.io"),
)
ENDINGS = ("azurecr.io", "azurecr.cn", "azurecr.us", "amazonaws.com", "docker.pkg.dev")
"""The ends of hosts that begin with a name of the user's own."""


def find_nearest_host(hostname: str) -> str:
    """Return the host of a provider that is spelled alike; empty if there is none."""
    found = find_nearest(hostname, HOSTS)
    if found:
        return found
    labels = hostname.split(".")
    for ending in ENDINGS:
        parts = ending.count(".") + 1
        own, end = labels[:-parts], ".".join(labels[-parts:])
        if own and end != ending and SequenceMatcher(None, end, ending).ratio() >= LIKENESS:
            return ".".join((*own, ending))
    return ""


def find_nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name that is most alike; empty if none is, or if ``name`` is known.

    One with the same letters in another order comes first: two of them were swapped.
    """
    names = list(known)
    if name in names:
        return ""
    close = get_close_matches(name, names, n=len(names) or 1, cutoff=LIKENESS)
    swapped = [one for one in close if sorted(one) == sorted(name)]
    return next(iter(swapped + close), "")
