"""Test a registry from a server: answer `true` or a typed error, or the whole report."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Self

from pydantic import SecretStr, model_validator

from api.events.waiter import EndedJob
from api.fields import dokploy
from api.fields.effects import NotBeside
from api.fields.hosts import require_host
from api.fields.issues import require_given
from api.fields.shapes import Accepted, Id, Input, Password, Prefix, Url, Username
from api.jobs.server_choice import choose_server
from api.jobs.submission import (
    TEST_DEADLINE,
    read_document,
    read_result,
    require_success,
    submit_and_wait,
)
from api.procedure.audit import audit_event
from api.procedure.auth import require_role
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from api.registries.credentials import damaged_key, retry_refused
from api.registries.tls import CLIENT_KEY, TlsFields, TrialTls, find_trial_tls
from shared.credentials.google import parse_key_login
from shared.credentials.kinds import AnySource, source_context
from shared.errors import InvalidReferenceError, NotFoundError
from shared.jobs.commands import RegistryTest
from shared.jobs.diagnosis import ProbeReport
from shared.jobs.permissions import require_allowed
from shared.jobs.states import State
from shared.jobs.store.submit import Submission
from shared.models import AuditEvent, Registry
from shared.providers import Provider, recognise
from shared.reference import RegistryHost, make_reference, parse_prefix
from shared.vault import SealContext

FIND = """
SELECT * FROM registry
 WHERE organization_id = %(organization_id)s AND registry_id = %(registry_id)s
"""
"""One round trip; a session's transaction needs five."""

PROBED_NAME = "connection-test"
NO_NAMESPACE = (
    "There is no image prefix, and the username cannot be a Docker Hub namespace: set a prefix."
)


class AdHocTest(TlsFields):
    """Give `username` and `password`, or a `credential` with which control gets the login.

    What is stored for the same host counts for `plainHttp` and `caCertificate` too.
    """

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.TESTED_REGISTRY

    registry_url: Url
    username: Annotated[Username | None, NotBeside("credential")] = None
    password: Annotated[Password | None, NotBeside("credential", refused=True)] = None
    credential: AnySource | None = None
    image_prefix: Prefix | None = None
    server_id: Id | None = None

    @model_validator(mode="after")
    def _has_login(self) -> Self:
        if self.credential is None:
            require_given(self, "username", "password")
        return self


class StoredTest(Input):
    registry_id: Id
    server_id: Id | None = None


class Diagnose(TlsFields):
    """Either a stored registry, or a URL with username and password or a credential."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.TESTED_REGISTRY

    registry_id: Id | None = None
    registry_url: Url | None = None
    username: Annotated[Username | None, NotBeside("credential")] = None
    password: Annotated[Password | None, NotBeside("credential", refused=True)] = None
    credential: AnySource | None = None
    image_prefix: Annotated[Prefix | None, NotBeside("registry_id", refused=True)] = None
    server_id: Id | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        stored = self.registry_id is not None
        has_login = self.credential is not None or None not in (self.username, self.password)
        is_whole = self.registry_url is not None and has_login
        others = (self.registry_url, self.username, self.password, self.credential)
        if stored == is_whole or (stored and any(others)):
            raise ValueError(
                "Give registryId, or registryUrl with username and password or credential"
            )
        tls = self.model_fields_set & TlsFields.model_fields.keys()
        if stored and any(getattr(self, name) for name in tls):
            raise ValueError("The TLS of a stored registry is changed with registry.update")
        return self


@dataclass(frozen=True)
class _Candidate:
    """The registry to be tested: a stored one, or one given with its password or source."""

    url: str
    host: RegistryHost
    username: str
    prefix: str | None
    registry: Registry | None = None
    password: SecretStr | None = None
    source: AnySource | None = None
    tls: TrialTls = field(default_factory=TrialTls)

    @property
    def registry_id(self) -> str | None:
        return self.registry.registry_id if self.registry else None

    def given_secret(self) -> str:
        """Return the password or source in clear, for sealing or hashing at once."""
        if self.source is not None:
            return self.source.to_sealable_json()
        return self.password.get_secret_value() if self.password else ""


async def try_ad_hoc(context: Context, request: AdHocTest) -> bool | Accepted:
    """Test a registry that is not stored: return `true`, or an error with cause and remedy.

    Requests for the same test at the same moment share one job, if they wait for its end and have
    no `Idempotency-Key`. A caller that leaves does not end the test of the others.
    """
    candidate = await _of_input(context, request)
    return _require_passed(await _test(context, candidate, request.server_id))


async def try_stored(context: Context, request: StoredTest) -> bool | Accepted:
    """Test a stored registry: return `true`, or an error with cause and remedy.

    Requests for the same test share one job, as with `registry.testRegistry`.
    """
    candidate = await _stored(context, request.registry_id)
    return _require_passed(await _test(context, candidate, request.server_id))


async def diagnose(context: Context, request: Diagnose) -> ProbeReport | Accepted:
    """Test a registry and return every stage of the test."""
    if request.registry_id is not None:
        candidate = await _stored(context, request.registry_id)
    else:
        candidate = await _of_input(context, request)
    ended = await _test(context, candidate, request.server_id)
    return ended if isinstance(ended, Accepted) else _report(ended)


def _require_passed(ended: EndedJob | Accepted) -> bool | Accepted:
    if isinstance(ended, Accepted):
        return ended
    require_success(ended)
    return True


def _report(ended: EndedJob) -> ProbeReport:
    """Read the report: from the error if the test found a fault, otherwise from the result."""
    if ended.state is State.FAILED and ended.error and "report" in ended.error:
        return read_document(ended, ended.error["report"], ProbeReport)
    return read_result(ended, ProbeReport)


async def _of_input(context: Context, request: AdHocTest | Diagnose) -> _Candidate:
    url = request.registry_url or ""
    host = require_host(url, context.resources.networks)
    source = _find_source(context, request, host)
    return _Candidate(
        url=url,
        host=host,
        username=source.USERNAME if source else request.username or "",
        prefix=request.image_prefix,
        password=None if source else request.password,
        source=source,
        tls=await find_trial_tls(context, request, url, host.name),
    )


def _find_source(
    context: Context, request: AdHocTest | Diagnose, host: RegistryHost
) -> AnySource | None:
    """Return the source that was given: a credential, or a key of Google as the password.

    Raises:
        ForbiddenError: a credential without an administrator's key, as in `registry.create`.
        InvalidInputError: it gives no logins for this host, or the key is not whole.
    """
    if request.credential is not None:
        require_role(context.caller, "admin")
        request.credential.require_host(host.name)
        return request.credential
    if request.password is None or recognise(host.name) is not Provider.GOOGLE:
        return None
    try:
        return parse_key_login(request.username or "", request.password)
    except ValueError as error:
        # No server is given even a part of a key.
        raise damaged_key(error) from None


def stored_test(
    context: Context, registry: Registry, *, username: str = "", rotation_id: str | None = None
) -> RegistryTest:
    """Make the command that tests a stored registry, or the new login of a rotation."""
    candidate = _of_row(context, registry)
    if rotation_id is None:
        return _command(candidate)
    command = _command(replace(candidate, username=username))
    return command.model_copy(update={"rotation_id": rotation_id})


async def _stored(context: Context, registry_id: str) -> _Candidate:
    values = {"organization_id": context.organization_id, "registry_id": registry_id}
    async with context.resources.pool.connection() as connection, connection.pipeline():
        found = await connection.execute(FIND, values)
        await retry_refused(connection, context.organization_id, [registry_id])
        row = await found.fetchone()
    if row is None:
        raise NotFoundError("Registry not found")
    return _of_row(context, Registry(**row))


def _of_row(context: Context, registry: Registry) -> _Candidate:
    return _Candidate(
        url=registry.registry_url,
        host=require_host(registry.registry_url, context.resources.networks),
        username=registry.username,
        prefix=registry.image_prefix,
        registry=registry,
    )


async def _test(
    context: Context, candidate: _Candidate, server_id: str | None
) -> EndedJob | Accepted:
    command = _command(candidate)
    registry = candidate.registry
    allowed = registry.allowed_servers if registry else ()
    chosen = await choose_server(context, server_id, among=allowed)
    if registry is not None:
        require_allowed([registry], [chosen], "", is_test=True)
    job_id = context.job_id
    job = Submission(
        organization_id=context.organization_id,
        server_id=chosen,
        command=command,
        requested_by=context.caller.actor_id,
        registry_id=candidate.registry_id,
        sealed=_seal(context, candidate, job_id),
        dedupe_key=_find_key(context, candidate, command, chosen),
        deadline=TEST_DEADLINE,
        job_id=job_id,
    )

    def audited(job_id: str) -> AuditEvent:
        tested, host = candidate.registry_id or job_id, candidate.host.name
        return audit_event(context, "registry.test", tested, host=host, server=chosen)

    return await submit_and_wait(context, job, audited)


def _find_key(
    context: Context, candidate: _Candidate, command: RegistryTest, server_id: str
) -> str | None:
    """Return the key that identical tests share; ``None`` for a job that is the caller's own.

    A stored password is compared as it is sealed: each change seals it anew. A given one is hashed
    with the caller's proof: without the API key no guesses can be tried on the hash.
    """
    if context.respond_async or context.outlives:
        return None
    if candidate.registry is not None:
        proof, secret = "", candidate.registry.password or ""
    else:
        proof, secret = context.caller.proof, candidate.given_secret()
    key = candidate.tls.client_key.get_secret_value()
    content = json.dumps([server_id, command.model_dump(mode="json"), secret, key])
    return hmac.digest(proof.encode(), content.encode(), hashlib.sha256).hex()


def _command(candidate: _Candidate) -> RegistryTest:
    repository, warnings = _probed_repository(candidate)
    return RegistryTest(
        host=candidate.host.name,
        username=candidate.username,
        repository=repository,
        registry_id=candidate.registry_id,
        credential=candidate.source.kind if candidate.source else None,
        warnings=(*candidate.host.warnings, *warnings),
        ca_certificate=candidate.tls.ca_certificate,
        client_certificate=candidate.tls.client_certificate,
        plain_http=candidate.tls.plain_http,
    )


def _probed_repository(candidate: _Candidate) -> tuple[str, tuple[str, ...]]:
    """Return the repository whose permissions are tested, and warnings about its name."""
    prefix = parse_prefix(candidate.host, candidate.prefix)
    try:
        probed = make_reference(candidate.url, prefix, PROBED_NAME, username=candidate.username)
    except InvalidReferenceError:
        # An e-mail address or a robot's name can log in, but is no namespace: test the login only.
        return make_reference(candidate.url, prefix, PROBED_NAME).repository, (NO_NAMESPACE,)
    return probed.repository, ()


def _seal(context: Context, candidate: _Candidate, job_id: str) -> dict[str, str]:
    if candidate.registry is not None:
        return {}
    organization_id, host = context.organization_id, candidate.host.name
    if candidate.source is not None:
        bound = source_context(organization_id, job_id, host)
    else:
        bound = SealContext("password", organization_id, job_id, host, candidate.username)
    vault, tls = context.resources.vault, candidate.tls
    sealed = {bound.purpose: vault.seal(candidate.given_secret(), bound)}
    if tls.client_certificate:
        of_key = SealContext(CLIENT_KEY, organization_id, job_id, host, "")
        sealed[CLIENT_KEY] = vault.seal(tls.client_key.get_secret_value(), of_key)
    return sealed


PROCEDURES = (
    Procedure("registry.testRegistry", "mutation", AdHocTest, bool, try_ad_hoc, waits=True),
    Procedure(
        "registry.testRegistryById",
        "mutation",
        StoredTest,
        bool,
        try_stored,
        waits=True,
    ),
    Procedure("registry.diagnose", "mutation", Diagnose, ProbeReport, diagnose, waits=True),
)
