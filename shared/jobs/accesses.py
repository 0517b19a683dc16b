"""Derive from a command its logins, its hosts, and its exclusive target."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.jobs.commands import (
    ANY_REPOSITORY,
    ApplicationControl,
    Command,
    ComposePull,
    ImageBuild,
    ImageCopy,
    ImageDelete,
    ImageInspect,
    ImagePull,
    ImagePush,
    ImageRepositories,
    ImageScan,
    ImageTags,
    ImageVerify,
    RegistryTest,
    Replace,
    ServiceLogin,
    ServiceReplace,
    SignatureSign,
    SignatureVerify,
)
from shared.jobs.diagnosis import Right
from shared.jobs.sources import GitSource
from shared.reference import Reference

_PULL: frozenset[Right] = frozenset({"pull"})
_PUSH: frozenset[Right] = frozenset({"pull", "push"})
_DELETE: frozenset[Right] = frozenset({"pull", "delete"})


@dataclass(frozen=True)
class Access:
    """A command's rights at a repository; without ``registry_id``, by the job's password.

    ``is_optional``: the command is carried out without it, if there is no such login at the moment.
    """

    host: str
    repository: str
    rights: frozenset[Right]
    registry_id: str | None
    is_optional: bool = False


def accesses(command: Command) -> tuple[Access, ...]:
    """Return the logins that a command needs, with their rights; none for anonymous access."""
    return tuple(_needed(command))


def _needed(command: Command) -> Iterator[Access]:
    match command:
        case RegistryTest() | ImageTags() | ImageRepositories():
            yield _at_host(command)
        case ImageBuild():
            yield from _bases(command)
        case ImageScan(attach=True, registry_id=str() as registry_id):
            yield _access(command.target, _PUSH, registry_id)
        case (
            ImagePull()
            | ImageVerify()
            | ImageInspect()
            | ImageScan()
            | SignatureVerify()
            | ServiceReplace()
            | ServiceLogin()
        ):
            yield from _pull(command.target, command.registry_id)
        case ImagePush() | SignatureSign():
            yield _access(command.target, _PUSH, command.registry_id)
        case ImageDelete():
            yield _access(command.target, _DELETE, command.registry_id)
        case ImageCopy():
            yield from _pull(command.origin, command.source_registry_id)
            yield _access(command.target, _PUSH, command.registry_id)
        case ComposePull():
            for image in command.images:
                yield from _pull(image.target, image.registry_id)
        case _:
            pass


def exclusive_key(command: Command, server_id: str) -> str | None:
    """Return the key of a target that one job at a time may change; ``None`` if there is none.

    A push and a copy to one tag exclude each other.
    """
    match command:
        case ImagePush() | ImageCopy() | ImageScan() | SignatureSign():
            return f"push:{command.reference}"
        case ImagePull():
            return f"pull:{server_id}:{command.reference}"
        case ImageBuild():
            return f"build:{command.application_id}"
        case ImageDelete():
            return f"delete:{command.reference}"
        case Replace() | ApplicationControl() | ServiceLogin():
            return f"container:{server_id}:{command.application_id}"
        case _:
            return None


def quota_keys(command: Command, server_id: str) -> list[str]:
    """Return the keys of the quotas that a command uses, as in ``quotas.sql``; each pull adds its.

    A registry with a login counts by account or by address: a pull has a key for each. The base
    images of a build are known only with its sources: a build gets a key once it is refused. A
    copy, a verification and an inspection read as many manifests as the image has: once that is
    known, a repetition reserves them.
    """
    keys: list[str] = []
    for host, registry_id in _pulls(command):
        if registry_id is None:
            keys.append(f"server:{server_id}@{host}")
        else:
            keys += [f"registry:{registry_id}", f"registry:{registry_id}@{server_id}"]
    return keys


def _pulls(command: Command) -> Iterator[tuple[str, str | None]]:
    """Yield the host and the registry's id of each image that is read from a registry."""
    match command:
        case ImagePull() | ImageVerify() | ImageInspect() | ImageScan() | SignatureVerify():
            yield command.target.registry, command.registry_id
        case ServiceReplace():
            for _ in range(command.replicas):  # on as many nodes at most
                yield command.target.registry, command.registry_id
        case ImageCopy():
            yield command.origin.registry, command.source_registry_id
        case ComposePull():
            for image in command.images:
                yield image.target.registry, image.registry_id
        case _:
            pass


def registries_of(commands: Iterable[Command]) -> frozenset[str]:
    """Return the ids of the registries whose logins some of these commands need."""
    needed = (access.registry_id for command in commands for access in accesses(command))
    return frozenset(registry_id for registry_id in needed if registry_id)


def hosts_of(command: Command) -> frozenset[str]:
    """Return all hosts of a command's secrets: its registries, and a build's git server.

    Those of optional logins are left out: older workers do not know them.
    """
    hosts = frozenset(access.host for access in accesses(command) if not access.is_optional)
    match command:
        case ImageBuild(source=GitSource() as source):
            return hosts | {source.host}
        case _:
            return hosts


def below_prefix(prefix: str) -> str:
    """Return the repository of a login for all repositories at or below a prefix."""
    return f"{prefix}/{ANY_REPOSITORY}" if prefix else ANY_REPOSITORY


def _access(target: Reference, rights: frozenset[Right], registry_id: str | None) -> Access:
    return Access(target.registry, target.repository, rights, registry_id)


def _at_host(command: RegistryTest | ImageTags | ImageRepositories) -> Access:
    """Return the access of a command that names a host and no image."""
    match command:
        case ImageRepositories():
            below = below_prefix(command.prefix)
            return Access(command.host, below, _PULL, command.registry_id)
        case ImageTags():
            return Access(command.host, command.repository, _PULL, command.registry_id)
        case RegistryTest():
            return Access(command.host, command.repository, _PUSH, command.registry_id)


def _bases(command: ImageBuild) -> Iterator[Access]:
    """Yield the login that is for any base image, and those for images below a prefix."""
    if command.base_host and command.registry_id:
        yield Access(command.base_host, ANY_REPOSITORY, _PULL, command.registry_id)
    for base in command.bases:
        below = below_prefix(base.prefix)
        yield Access(base.host, below, _PULL, base.registry_id, is_optional=True)


def _pull(target: Reference, registry_id: str | None) -> Iterator[Access]:
    """Yield no access without a registry: the pull is anonymous."""
    if registry_id:
        yield _access(target, _PULL, registry_id)
