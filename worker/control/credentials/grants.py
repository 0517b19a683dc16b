"""Open stored credentials for one released job and seal them to the one server that runs it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, SecretStr, TypeAdapter

from shared.errors import CredentialError, RegistryError, UnmetConditionError
from shared.faults import Fault, FaultCode
from shared.jobs.accesses import Access, accesses, hosts_of
from shared.jobs.commands import Command, ImageBuild, Kind, Replace, SignatureSign, parse_command
from shared.jobs.diagnosis import Stage
from shared.jobs.permissions import require_allowed
from shared.jobs.sources import GitSource
from shared.jobs.store.release import Released
from shared.providers import read_expiry
from shared.reference import require_digest
from shared.signatures.keys import SigningKey
from shared.ssh.address import is_ssh
from shared.vault import KeyRing, PublicKey, SealContext
from worker.login import (
    BUILD_SECRETS,
    BUNDLE,
    CONTEXT_TOKEN,
    ENVIRONMENT,
    GIT_SSH_KEY,
    GIT_TOKEN,
    SIGNING_KEY,
    TAG_SIGNATURE,
    Grant,
    Grants,
    Login,
    login_context,
)
from worker.oci.signatures.bundle import make_bundle
from worker.oci.signatures.documents import SIGNATURE
from worker.oci.signatures.writing import sign_for_tag
from worker.registry_tls import RegistryTls

_VARIABLES = TypeAdapter(dict[str, SecretStr])
_TAKES: dict[str, type[ImageBuild | Replace]] = {BUILD_SECRETS: ImageBuild, ENVIRONMENT: Replace}


class Limited(BaseModel):
    """The limits of a registry's login to servers and applications."""

    host: str
    allowed_servers: list[str] = []
    allowed_applications: list[str] = []


CLIENT_KEY = "client_key"
"""The purpose of a sealed key of a client certificate."""

SKEW = timedelta(minutes=5)
"""The difference of clocks up to which a registry decides itself if a token has expired."""


def make_grants(
    vault: KeyRing,
    job: Released,
    context_token: SecretStr | None = None,
    *,
    now: datetime | None = None,
) -> Grants | None:
    """Return the job's grants for this attempt; ``None`` if it needs none.

    ``context_token`` is the token with which a build downloads its context.

    Raises:
        CredentialError: a credential does not open, was removed, or is for another host.
        RegistryError: ``auth_expired``, the password is a token that says so itself.
        UnmetConditionError: ``registry_not_allowed`` for this server or application.
    """
    command = parse_command(job.kind, job.command)
    needed = accesses(command)
    secrets = _open_secrets(vault, job, command)
    if context_token is not None:
        secrets[CONTEXT_TOKEN] = context_token
    build_secrets = _open_variables(vault, job, command, BUILD_SECRETS)
    environment = _open_variables(vault, job, command, ENVIRONMENT)
    if not (needed or secrets or build_secrets or environment):
        return None
    return Grants(
        grants=tuple(_make_grants(vault, job, needed, now or datetime.now(UTC))),
        secrets=secrets,
        build_secrets=build_secrets,
        environment=environment,
    )


def seal_grants(job: Released, given: Grants) -> str:
    """Return the grants, sealed to the job's server for this attempt."""
    return _seal(job, parse_command(job.kind, job.command), given)


def seal_logins(vault: KeyRing, job: Released) -> str:
    """Return the newest logins of a running attempt, sealed as its first ones, without secrets.

    Raises:
        CredentialError, RegistryError, UnmetConditionError: as `make_grants`.
    """
    command = parse_command(job.kind, job.command)
    now = datetime.now(UTC)
    given = Grants(grants=tuple(_grant(vault, job, access, now) for access in accesses(command)))
    return _seal(job, command, given)


def _seal(job: Released, command: Command, given: Grants) -> str:
    context = login_context(
        organization_id=job.organization_id,
        job_id=job.job_id,
        attempt=job.attempt,
        server_id=job.server_id,
        hosts=hosts_of(command),
    )
    return PublicKey.parse(job.public_key).seal(given.to_sealable_json(), context)


def _make_grants(
    vault: KeyRing, job: Released, needed: Iterable[Access], now: datetime
) -> Iterator[Grant]:
    for access in needed:
        try:
            yield _grant(vault, job, access, now)
        except (CredentialError, RegistryError, UnmetConditionError):
            if not access.is_optional:
                raise


def _grant(vault: KeyRing, job: Released, access: Access, now: datetime) -> Grant:
    login = _open_login(vault, job, access)
    expires = read_expiry(login.secret.get_secret_value())
    if expires is not None and expires + SKEW < now:
        raise RegistryError(
            FaultCode.AUTH_EXPIRED,
            f"the token for {login.host} expired at {expires:%Y-%m-%d %H:%M:%S} UTC",
            stage=Stage.AUTH,
        )
    return Grant(login=login, repository=access.repository, rights=access.rights)


def _open_login(vault: KeyRing, job: Released, access: Access) -> Login:
    host = access.host
    if access.registry_id is None:
        return _login_of_job(vault, job, host)
    registry = job.registries.get(access.registry_id)
    if registry is None:
        raise CredentialError(
            f"the registry {access.registry_id} of this job was removed",
            remedy="Create the registry again, then repeat the request.",
        )
    if registry["host"] != host:
        raise CredentialError(
            f"the registry's host is now {registry['host']}, but the job is for {host}",
            remedy="Repeat the request.",
        )
    _require_minted(registry)
    limited = Limited.model_validate(registry)
    is_test = job.kind == Kind.REGISTRY_TEST
    require_allowed([limited], [job.server_id], job.fair_key, is_test=is_test)
    return open_stored_login(vault, job.organization_id, access.registry_id, registry)


def _require_minted(registry: Mapping[str, Any]) -> None:
    """Raise the error with which a provider refused the registry's source, if it has no login."""
    if registry.get("credential_error"):
        fault = Fault.model_validate(registry["credential_error"])
        raise UnmetConditionError(fault.code, fault.message, remedy=fault.remedy)
    if registry["password"] is None:
        raise CredentialError(
            f"wharf control has no login for {registry['host']} yet", remedy="Repeat the request."
        )


def open_stored_login(
    vault: KeyRing, organization_id: str, registry_id: str, registry: Mapping[str, Any]
) -> Login:
    """Open the login in a registry's row, with the certificates for its host.

    Raises:
        CredentialError: it does not open.
    """
    host, username = registry["host"], registry["username"]
    context = SealContext("credential", organization_id, registry_id, host, username)
    secret = vault.open(registry["password"], context)
    tls = _open_tls(vault, organization_id, registry_id, registry)
    return Login(
        host=host,
        username=username,
        secret=SecretStr(secret),
        tls=tls,
        registry_id=registry_id,
        is_untried=registry.get("is_untried", False),
    )


def _open_tls(
    vault: KeyRing, organization_id: str, registry_id: str, registry: Mapping[str, Any]
) -> RegistryTls:
    key = registry.get(CLIENT_KEY)
    context = SealContext(CLIENT_KEY, organization_id, registry_id, registry["host"], "")
    stored = {name: value for name, value in registry.items() if value is not None}
    opened = SecretStr(vault.open(key, context) if key else "")
    return RegistryTls.model_validate(stored | {CLIENT_KEY: opened, "registry_id": registry_id})


def _login_of_job(vault: KeyRing, job: Released, host: str) -> Login:
    if "password" not in job.sealed:
        raise CredentialError(
            f"the job has no credential for {host}", remedy="Name a registry, or give a password."
        )
    username = str(job.command.get("username", ""))
    context = SealContext("password", job.organization_id, job.job_id, host, username)
    secret = vault.open(job.sealed["password"], context)
    tls = _open_tls_of_job(vault, job, host)
    return Login(host=host, username=username, secret=SecretStr(secret), tls=tls)


def _open_tls_of_job(vault: KeyRing, job: Released, host: str) -> RegistryTls:
    key = job.sealed.get(CLIENT_KEY)
    context = SealContext(CLIENT_KEY, job.organization_id, job.job_id, host, "")
    opened = SecretStr(vault.open(key, context) if key else "")
    return RegistryTls.model_validate(job.command | {CLIENT_KEY: opened, "registry_id": ""})


def _open_secrets(vault: KeyRing, job: Released, command: Command) -> dict[str, SecretStr]:
    """Open a build's secret that is not a login: the token or deploy key of its repository."""
    match command:
        case ImageBuild(source=GitSource() as source):
            purpose = GIT_SSH_KEY if is_ssh(source.url) else GIT_TOKEN
        case SignatureSign():
            return make_signatures(vault, job, command)
        case _:
            return {}
    if purpose not in job.sealed:
        return {}
    context = SealContext(
        purpose,
        job.organization_id,
        command.application_id,
        source.host,
        source.username,
    )
    return {purpose: SecretStr(vault.open(job.sealed[purpose], context))}


def make_signatures(vault: KeyRing, job: Released, command: SignatureSign) -> dict[str, SecretStr]:
    """Sign an image's digest: the key stays here, the server gets the signatures."""
    if SIGNING_KEY not in job.sealed:
        raise CredentialError("the job has no signing key", remedy="Repeat the request.")
    key_id, target = command.signing_key_id, command.target
    context = SealContext(SIGNING_KEY, job.organization_id, key_id, "", "")
    key = SigningKey.parse(vault.open(job.sealed[SIGNING_KEY], context))
    digest = target.digest or ""
    require_digest(digest)
    bundle = make_bundle(digest, SIGNATURE, {}, key).decode()
    return {
        TAG_SIGNATURE: SecretStr(sign_for_tag(target.name, digest, key)),
        BUNDLE: SecretStr(bundle),
    }


def _open_variables(
    vault: KeyRing, job: Released, command: Command, purpose: str
) -> dict[str, SecretStr]:
    """Open the application's variables at the time of the request, by name."""
    if purpose not in job.sealed or not isinstance(command, _TAKES[purpose]):
        return {}
    context = SealContext(purpose, job.organization_id, command.application_id, "", "")
    return _VARIABLES.validate_json(vault.open(job.sealed[purpose], context))
