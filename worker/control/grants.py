"""Open a stored credential for one released job and seal it to the one server that runs it."""

from dataclasses import dataclass

from pydantic import SecretStr

from shared.diagnosis import Right
from shared.errors import CredentialError
from shared.jobs.commands import (
    Command,
    ImagePull,
    ImagePush,
    RegistryTest,
    parse_command,
)
from shared.jobs.store.release import Released
from shared.vault import KeyRing, PublicKey, SealContext
from worker.login import Grant, Login, login_context


@dataclass(frozen=True)
class _Scope:
    host: str
    repository: str
    rights: frozenset[Right]


def seal_grant(vault: KeyRing, job: Released) -> str | None:
    """The job's grant, sealed to its server for this attempt; ``None`` where it needs no login.

    Raises:
        CredentialError: the credential does not open, is gone, or is for another host.
    """
    scope = _scope(parse_command(job.kind, job.command))
    if scope is None:
        return None
    login = _open_login(vault, job, scope.host)
    grant = Grant(login=login, repository=scope.repository, rights=scope.rights)
    context = login_context(
        organization_id=job.organization_id,
        job_id=job.job_id,
        attempt=job.attempt,
        server_id=job.server_id,
        host=scope.host,
    )
    return PublicKey.parse(job.public_key).seal(grant.sealable(), context)


def _scope(command: Command) -> _Scope | None:
    match command:
        case RegistryTest(host=host, repository=repository):
            return _Scope(host, repository, frozenset({"pull", "push"}))
        case ImagePull(registry_id=str()):
            target = command.target
            return _Scope(target.registry, target.repository, frozenset({"pull"}))
        case ImagePush():
            target = command.target
            return _Scope(target.registry, target.repository, frozenset({"pull", "push"}))
        case _:
            return None


def _open_login(vault: KeyRing, job: Released, host: str) -> Login:
    if job.registry_id is None:
        return _login_of_job(vault, job, host)
    if job.registry is None:
        raise CredentialError(
            f"the registry {job.registry_id} of this job is gone",
            remedy="Create the registry again, then ask again.",
        )
    if job.registry["host"] != host:
        raise CredentialError(
            f"the registry is at {job.registry['host']} now, the job is for {host}",
            remedy="Ask again.",
        )
    username = job.registry["username"]
    context = SealContext("credential", job.organization_id, job.registry_id, host, username)
    secret = vault.open(job.registry["password"], context)
    return Login(host=host, username=username, secret=SecretStr(secret))


def _login_of_job(vault: KeyRing, job: Released, host: str) -> Login:
    if job.sealed_password is None:
        raise CredentialError(
            f"no credential is given for {host}", remedy="Name a registry, or give a password."
        )
    username = str(job.command.get("username", ""))
    context = SealContext("password", job.organization_id, job.job_id, host, username)
    secret = vault.open(job.sealed_password, context)
    return Login(host=host, username=username, secret=SecretStr(secret))
