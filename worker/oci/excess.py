"""Tell what a login may do beyond need, from what a test of its registry has seen anyway.

Nothing is asked for it and nothing fails by it: tokens name their rights, some accounts are known
by their names, and who may list all repositories may see them all.
"""

import re
from collections.abc import Iterator

from shared.jobs.diagnosis import Excess, ExcessCode
from shared.providers import Provider, recognise
from worker.oci.auth.scope import Claims

ADMINISTRATORS = frozenset({"admin", "administrator", "root"})
"""The names of accounts that Harbor, Nexus, Artifactory, Gitea and GitLab create first."""

_ADMIN = re.compile(r"\badmin\b")


def find_excess(
    claims: Claims, registry: str, repository: str, username: str, *, lists_all: bool
) -> tuple[Excess, ...]:
    """Return what a login may do beyond pull and push in the repository of a test.

    ``lists_all``: it could list the registry's repositories, although it is for one namespace.
    """
    found = {
        one.code: one
        for one in (
            *_of_claims(claims, repository),
            *_of_name(registry, username),
            *_of_catalog(repository, lists_all=lists_all),
        )
    }
    return tuple(found[code] for code in ExcessCode if code in found)


def _of_claims(claims: Claims, repository: str) -> Iterator[Excess]:
    for access in claims.access or ():
        if "*" in access.actions and access.type == "repository":
            text = f"the token grants every action on {_show(access.name)}"
            yield Excess(code=ExcessCode.EVERYTHING, message=text)
        if access.type == "repository" and access.name == "*":
            text = "the token is for all repositories"
            yield Excess(code=ExcessCode.ALL_REPOSITORIES, message=text)
        if "delete" in access.actions and access.name in {repository, "*"}:
            text = f"it may delete images in {_show(access.name)}"
            yield Excess(code=ExcessCode.DELETE, message=text)
    if _ADMIN.search(claims.scope):
        text = "the token has an administrator's scope"
        yield Excess(code=ExcessCode.ADMINISTRATOR, message=text)


def _of_name(registry: str, username: str) -> Iterator[Excess]:
    provider = recognise(registry)
    if provider is Provider.SELF_HOSTED and username.lower() in ADMINISTRATORS:
        text = f"{username} is usually the registry's administrator: use a robot account or a token"
        yield Excess(code=ExcessCode.ADMINISTRATOR, message=text)
    if provider is Provider.SELF_HOSTED and re.fullmatch(r"robot\$[^+]+", username):
        text = f"{username} is a robot of the system: use one of a project (robot$project+name)"
        yield Excess(code=ExcessCode.ALL_REPOSITORIES, message=text)
    if provider is Provider.QUAY and "+" not in username and not username.startswith("$"):
        text = f"{username} is a person's account: use a robot account (organization+name)"
        yield Excess(code=ExcessCode.PERSONAL_ACCOUNT, message=text)


def _of_catalog(repository: str, *, lists_all: bool) -> Iterator[Excess]:
    if lists_all and "/" in repository:
        namespace = repository.rpartition("/")[0]
        text = f"it may list the repositories of the whole registry, and is used for {namespace}"
        yield Excess(code=ExcessCode.ALL_REPOSITORIES, message=text)


def _show(name: str) -> str:
    """Return untrusted text for a message."""
    return "".join(one for one in name if one.isprintable())[:100] or "all repositories"
