"""Control opens a credential for just the host, user and organization it was stored for."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import CredentialError, RegistryError, UnmetConditionError
from shared.faults import FaultCode
from shared.jobs.accesses import hosts_of
from shared.jobs.commands import (
    BaseRegistry,
    Command,
    ComposeImage,
    ComposePull,
    ContainerReplace,
    ImageBuild,
    ImageCopy,
    ImageDelete,
    ImagePull,
    ImagePush,
    ImageTag,
    ImageVerify,
    RegistryTest,
    SignatureSign,
)
from shared.jobs.sources import GitSource, UploadSource
from shared.jobs.store.release import Released
from shared.reference import parse_reference
from shared.signatures.keys import SigningKey
from shared.vault import KeyRing, PrivateKey, SealContext
from tests.worker.control.credentials.sealing import seal_grants
from worker.control.credentials.context_tokens import make_token
from worker.login import (
    BUILD_SECRETS,
    BUNDLE,
    CONTEXT_TOKEN,
    ENVIRONMENT,
    GIT_SSH_KEY,
    GIT_TOKEN,
    Grant,
    Grants,
    login_context,
)
from worker.oci.signatures.bundle import parse_bundle
from worker.oci.signatures.verification import Requirements
from worker.oci.signatures.verification import verify as verify_documents
from worker.registry_tls import RegistryTls

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
VAULT, SERVER = PrivateKey.generate(), PrivateKey.generate()
RING = KeyRing([VAULT])
HOST, SECRET = "registry.example", "what-nobody-may-see"
AD_HOC = RegistryTest(host=HOST, username="alice", repository="team/app")
TEST = AD_HOC.model_copy(update={"registry_id": "registry"})
PULL = ImagePull(reference=f"{HOST}/team/app:1", registry_id="registry")
PUSH = ImagePush(source="app:1", reference=f"{HOST}/team/app:1", registry_id="registry")
WITH_DIGEST = f"{HOST}/team/app:1@sha256:{'a' * 64}"
PROVE = ImageVerify(reference=WITH_DIGEST, registry_id="registry")
DELETE = ImageDelete(reference=WITH_DIGEST, registry_id="registry")


def context_of(job: Released) -> SealContext:
    return login_context(
        organization_id=job.organization_id,
        job_id=job.job_id,
        attempt=job.attempt,
        server_id=job.server_id,
        hosts=[HOST],
    )


def sealed(purpose: str = "credential", object_id: str = "registry", **changes: Any) -> str:
    context = SealContext(purpose, "organization", object_id, HOST, "alice")
    return VAULT.public.seal(SECRET, replace(context, **changes))


WITHOUT_REGISTRY: dict[str, Any] = {"registry_id": None, "registries": {}}


def fault_document(**changes: Any) -> dict[str, Any]:
    return {"host": HOST, "username": "alice", "password": sealed(), **changes}


def make_job(command: Command, **changes: Any) -> Released:
    job = Released(
        job_id="job",
        organization_id="organization",
        server_id="server",
        kind=command.kind,
        attempt=2,
        command=command.model_dump(mode="json"),
        registry_id="registry",
        public_key=str(SERVER.public),
        sealed={},
        registries={"registry": fault_document()},
    )
    return replace(job, **changes)


def open_grant(job: Released, text: str | None, **changes: Any) -> Grant:
    assert text is not None
    context = replace(context_of(job), **changes)
    [grant] = Grants.model_validate_json(KeyRing([SERVER]).open(text, context)).grants
    return grant


def test_the_tls_of_a_registry_goes_with_its_login() -> None:
    key = sealed("client_key", username="")
    row = fault_document(
        ca_certificate="a CA",
        client_certificate="a certificate",
        client_key=key,
        install_ca=True,
        plain_http=True,
    )
    job = make_job(PULL, registries={"registry": row})

    text = seal_grants(RING, job)

    tls = open_grant(job, text).login.tls
    assert (tls.ca_certificate, tls.client_certificate) == ("a CA", "a certificate")
    assert tls.client_key.get_secret_value() == SECRET
    assert tls.install_ca and tls.plain_http and tls.registry_id == "registry"
    assert open_grant(job, seal_grants(RING, make_job(PULL))).login.tls == RegistryTls(
        registry_id="registry"
    )


def test_a_build_goes_on_without_a_login_that_is_only_for_some_bases() -> None:
    bases = tuple(
        BaseRegistry(registry_id=each, host=HOST, prefix=each)
        for each in ("team", "gone", "limited")
    )
    command = BUILD.model_copy(update={"base_host": None, "registry_id": None, "bases": bases})
    rows = {
        "team": fault_document(password=sealed(object_id="team")),
        "limited": fault_document(password=sealed(object_id="limited"), allowed_servers=["other"]),
    }
    job = make_job(command, registries=rows, sealed={})

    text = seal_grants(RING, job)

    assert text is not None
    context = login_context(
        organization_id=job.organization_id,
        job_id=job.job_id,
        attempt=job.attempt,
        server_id=job.server_id,
        hosts=hosts_of(command),
    )
    grants = Grants.model_validate_json(KeyRing([SERVER]).open(text, context))
    assert [(grant.login.host, grant.repository) for grant in grants.grants] == [(HOST, "team/*")]


def test_a_client_key_of_another_host_is_not_opened() -> None:
    key = sealed("client_key", username="", host="evil.example")
    row = fault_document(client_certificate="a certificate", client_key=key)

    with pytest.raises(CredentialError):
        seal_grants(RING, make_job(PULL, registries={"registry": row}))


def test_a_test_of_what_is_not_stored_has_its_own_tls() -> None:
    command = AD_HOC.model_copy(
        update={"ca_certificate": "a CA", "client_certificate": "one", "plain_http": True}
    )
    key = sealed("client_key", "job", username="")
    secrets = {"password": sealed("password", "job"), "client_key": key}
    job = make_job(command, **WITHOUT_REGISTRY, sealed=secrets)

    tls = open_grant(job, seal_grants(RING, job)).login.tls

    assert (tls.ca_certificate, tls.client_certificate, tls.plain_http) == ("a CA", "one", True)
    assert tls.client_key.get_secret_value() == SECRET and not tls.install_ca


def test_a_login_goes_to_the_servers_alone_that_its_registry_names() -> None:
    named = {"registry": fault_document(allowed_servers=["server", "another"])}
    others = {"registry": fault_document(allowed_servers=["another"])}

    for command in (PULL, PUSH, TEST, PROVE, DELETE):
        assert seal_grants(RING, make_job(command, registries=named)) is not None
        with pytest.raises(UnmetConditionError) as refused:
            seal_grants(RING, make_job(command, registries=others))
        assert refused.value.code == "registry_not_allowed"


def test_a_login_is_for_the_applications_alone_that_its_registry_names() -> None:
    named = {"registry": fault_document(allowed_applications=["app"])}

    for command in (PULL, PUSH, PROVE, DELETE):
        ours = make_job(command, registries=named, fair_key="app")
        assert seal_grants(RING, ours) is not None
        for other in ("", "another", "registry.example/team/app"):
            with pytest.raises(UnmetConditionError) as refused:
                seal_grants(RING, make_job(command, registries=named, fair_key=other))
            assert refused.value.code == "registry_not_allowed"
    assert seal_grants(RING, make_job(TEST, registries=named)) is not None


@pytest.mark.parametrize(
    ("command", "rights"),
    [
        (PULL, {"pull"}),
        (PUSH, {"pull", "push"}),
        (TEST, {"pull", "push"}),
        (PROVE, {"pull"}),
        (DELETE, {"pull", "delete"}),
    ],
)
def test_a_grant_says_for_what_it_is_given(command: Command, rights: set[str]) -> None:
    job = make_job(command)

    grant = open_grant(job, seal_grants(RING, job))

    assert (grant.login.host, grant.login.username) == (HOST, "alice")
    assert grant.login.secret.get_secret_value() == SECRET
    assert (grant.repository, grant.rights) == ("team/app", frozenset(rights))
    assert SECRET not in f"{grant!r} {grant} {grant.model_dump()} {grant.model_dump_json()}"


@pytest.mark.parametrize(
    "changes",
    [
        {"attempt": 3},
        {"server_id": "another"},
        {"object_id": "another"},
        {"organization_id": "another"},
        {"host": "evil.example"},
        {"purpose": "credential"},
    ],
)
def test_a_grant_opens_for_its_server_and_attempt_only(changes: dict[str, Any]) -> None:
    job = make_job(PULL)
    text = seal_grants(RING, job)

    with pytest.raises(CredentialError):
        open_grant(job, text, **changes)


def test_another_server_cannot_open_a_grant() -> None:
    job = make_job(PULL)
    text = seal_grants(RING, job)
    assert text is not None

    with pytest.raises(CredentialError):
        KeyRing([PrivateKey.generate(), VAULT]).open(text, context_of(job))


@pytest.mark.parametrize(
    "command", [ImageTag(source="a", reference="b"), ImagePull(reference=f"{HOST}/team/app:1")]
)
def test_a_job_that_needs_no_login_gets_none(command: Command) -> None:
    assert seal_grants(RING, make_job(command, **WITHOUT_REGISTRY)) is None


def test_a_password_given_with_a_job_is_used_for_that_job() -> None:
    password = sealed("password", "job")
    job = make_job(AD_HOC, **WITHOUT_REGISTRY, sealed={"password": password})

    grant = open_grant(job, seal_grants(RING, job))

    assert grant.login.secret.get_secret_value() == SECRET


EVIL_TEST = AD_HOC.model_copy(update={"host": "evil.example"})
EVIL_PULL = ImagePull(reference="evil.example/team/app:1", registry_id="registry")
EVIL_STORED_TEST = TEST.model_copy(update={"host": "evil.example"})


@pytest.mark.parametrize(
    "job",
    [
        # The row was changed by hand, with the job or without it.
        make_job(PULL, registries={"registry": fault_document(host="evil.example")}),
        make_job(EVIL_PULL, registries={"registry": fault_document(host="evil.example")}),
        make_job(EVIL_STORED_TEST, registries={"registry": fault_document(host="evil.example")}),
        make_job(PULL, registries={"registry": fault_document(username="mallory")}),
        # The job was changed.
        make_job(EVIL_PULL),
        make_job(EVIL_STORED_TEST),
        # A ciphertext was copied from elsewhere.
        make_job(
            PULL,
            registries={"registry": fault_document(password=sealed(organization_id="another"))},
        ),
        make_job(
            PULL, registries={"registry": fault_document(password=sealed(object_id="another"))}
        ),
        make_job(
            PULL, registries={"registry": fault_document(password=sealed(purpose="password"))}
        ),
        make_job(PULL, organization_id="another"),
        make_job(PULL, registries={"registry": fault_document(password="junk")}),
        make_job(
            PULL,
            registries={
                "registry": fault_document(
                    password=PrivateKey.generate().public.seal(
                        "x", SealContext("credential", "organization", "registry", HOST, "alice")
                    )
                )
            },
        ),
        # A password of one job with another, for another host, by another user.
        make_job(AD_HOC, **WITHOUT_REGISTRY, sealed={"password": sealed("password", "another")}),
        make_job(EVIL_TEST, **WITHOUT_REGISTRY, sealed={"password": sealed("password", "job")}),
        make_job(AD_HOC, **WITHOUT_REGISTRY, sealed={"password": sealed("credential", "registry")}),
        make_job(
            AD_HOC.model_copy(update={"username": "mallory"}),
            **WITHOUT_REGISTRY,
            sealed={"password": sealed("password", "job")},
        ),
        # There is none.
        make_job(AD_HOC, **WITHOUT_REGISTRY),
        make_job(PUSH, **WITHOUT_REGISTRY),
        make_job(PULL, registries={}),
    ],
)
def test_a_credential_is_used_for_nothing_but_what_it_was_stored_for(job: Released) -> None:
    with pytest.raises(CredentialError) as caught:
        seal_grants(RING, job)

    assert caught.value.code == "credential_unreadable"
    assert SECRET not in f"{caught.value.message} {caught.value.remedy}"


COPY = ImageCopy(
    source=f"{HOST}/team/app:1",
    reference="retained.example/team/app:1",
    source_registry_id="registry",
    registry_id="retained",
)
BUILD = ImageBuild(
    application_id="application",
    reference="app:1",
    source=GitSource(url="https://git.example/team/app.git", username="porter"),
    base_host=HOST,
    registry_id="registry",
)


def open_grants(job: Released, hosts: list[str]) -> Grants:
    text = seal_grants(RING, job)
    assert text is not None
    context = replace(context_of(job), host=",".join(hosts))
    return Grants.model_validate_json(KeyRing([SERVER]).open(text, context))


def test_a_copy_is_given_a_login_for_each_side_and_no_more_rights_than_it_needs() -> None:
    retained = SealContext("credential", "organization", "retained", "retained.example", "bob")
    other = {
        "host": "retained.example",
        "username": "bob",
        "password": VAULT.public.seal("other", retained),
    }
    job = make_job(COPY, registries={"registry": fault_document(), "retained": other})

    given = open_grants(job, [HOST, "retained.example"])

    assert given.login_for(COPY.origin, "pull").username == "alice"
    assert given.login_for(COPY.target, "push").username == "bob"
    with pytest.raises(RegistryError, match="no login was given for push"):
        given.login_for(COPY.origin, "push")


COMPOSE = ComposePull(
    compose="",
    images=(
        ComposeImage(services=("web",), reference=f"{HOST}/team/web:1", registry_id="registry"),
        ComposeImage(services=("db",), reference="docker.io/library/postgres:18"),
        ComposeImage(services=("job",), reference=f"{HOST}/team/job:1", registry_id="registry"),
    ),
)


def test_a_compose_file_is_given_a_login_for_each_image_that_has_a_registry() -> None:
    job = make_job(COMPOSE)

    given = open_grants(job, [HOST])

    web, postgres, work = (image.target for image in COMPOSE.images)
    assert given.login_for(web, "pull").username == "alice"
    assert given.login_for(work, "pull").username == "alice"
    for target in (postgres, parse_reference(f"{HOST}/team/other:1")):
        with pytest.raises(RegistryError, match="no login was given for pull"):
            given.login_for(target, "pull")
    with pytest.raises(RegistryError, match="no login was given for push"):
        given.login_for(web, "push")


def test_a_build_is_given_its_base_login_for_any_repository_and_its_git_token() -> None:
    bound = SealContext(GIT_TOKEN, "organization", "application", "git.example", "porter")
    job = make_job(BUILD, sealed={GIT_TOKEN: VAULT.public.seal("ghp_canary", bound)})

    given = open_grants(job, ["git.example", HOST])

    assert given.secrets[GIT_TOKEN].get_secret_value() == "ghp_canary"
    assert given.login_for(parse_reference(f"{HOST}/any/base:3"), "pull").username == "alice"
    for other in (f"{HOST}.evil.example/any/base:3", "any/base:3"):
        with pytest.raises(RegistryError):
            given.login_for(parse_reference(other), "pull")
    assert "ghp_canary" not in f"{given!r} {given.model_dump()} {given.model_dump_json()}"


UPLOAD = ImageBuild(
    application_id="application",
    reference="app:1",
    source=UploadSource(context_id="context", size_bytes=7, sha256="0" * 64),
)


def seal_build_secrets(organization: str = "organization", application: str = "application") -> str:
    context = SealContext(BUILD_SECRETS, organization, application, "", "")
    return VAULT.public.seal('{"npm": "npm_canary", "pip": "pip_canary"}', context)


def test_a_build_is_given_the_secrets_that_its_steps_may_mount() -> None:
    job = make_job(UPLOAD, **WITHOUT_REGISTRY, sealed={BUILD_SECRETS: seal_build_secrets()})

    given = open_grants(job, [])

    opened = {name: secret.get_secret_value() for name, secret in given.build_secrets.items()}
    assert opened == {"npm": "npm_canary", "pip": "pip_canary"}
    assert "canary" not in f"{given!r} {given.model_dump()} {given.model_dump_json()}"


@pytest.mark.parametrize("changes", [{"application": "other"}, {"organization": "other"}])
def test_build_secrets_are_for_their_application_only(changes: dict[str, str]) -> None:
    sealed = {BUILD_SECRETS: seal_build_secrets(**changes)}

    with pytest.raises(CredentialError):
        seal_grants(RING, make_job(UPLOAD, **WITHOUT_REGISTRY, sealed=sealed))


REPLACE = ContainerReplace(
    application_id="application",
    deployment_id="deployment",
    name="my-app",
    reference=f"{HOST}/team/app@sha256:{'a' * 64}",
)


def seal_environment(**changes: Any) -> str:
    context = SealContext(ENVIRONMENT, "organization", "application", "", "")
    return VAULT.public.seal('{"TOKEN": "env_canary"}', replace(context, **changes))


def test_a_container_is_given_the_environment_of_its_application() -> None:
    job = make_job(REPLACE, **WITHOUT_REGISTRY, sealed={ENVIRONMENT: seal_environment()})

    given = open_grants(job, [])

    opened = {name: secret.get_secret_value() for name, secret in given.environment.items()}
    assert opened == {"TOKEN": "env_canary"}
    assert (given.build_secrets, given.secrets, given.grants) == ({}, {}, ())
    assert "canary" not in f"{given!r} {given.model_dump()} {given.model_dump_json()}"


@pytest.mark.parametrize(
    "changes",
    [{"object_id": "other"}, {"organization_id": "other"}, {"purpose": BUILD_SECRETS}],
)
def test_an_environment_is_for_its_application_only(changes: dict[str, str]) -> None:
    sealed = {ENVIRONMENT: seal_environment(**changes)}

    with pytest.raises(CredentialError):
        seal_grants(RING, make_job(REPLACE, **WITHOUT_REGISTRY, sealed=sealed))


def test_a_container_without_an_environment_is_given_nothing() -> None:
    assert seal_grants(RING, make_job(REPLACE, **WITHOUT_REGISTRY)) is None


@pytest.mark.parametrize(
    ("changes", "is_given"),
    [
        ({}, True),
        ({"url": "git@other.example:team/app.git"}, False),
        ({"url": "ssh://porter@git.example:2222/team/app.git"}, False),
        ({"username": "mallory"}, False),
    ],
)
def test_a_deploy_key_is_for_its_host_port_and_user_only(
    changes: dict[str, str], *, is_given: bool
) -> None:
    bound = SealContext(GIT_SSH_KEY, "organization", "application", "git.example", "porter")
    changes = {"url": "porter@git.example:team/app.git", **changes}
    behind_ssh = BUILD.model_copy(update={"source": BUILD.source.model_copy(update=changes)})
    job = make_job(behind_ssh, sealed={GIT_SSH_KEY: VAULT.public.seal("key_canary", bound)})

    if is_given:
        given = open_grants(job, ["git.example", HOST])
        assert given.secrets[GIT_SSH_KEY].get_secret_value() == "key_canary"
    else:
        with pytest.raises(CredentialError):
            seal_grants(RING, job)


def test_an_environment_is_no_build_s_and_build_secrets_are_no_container_s() -> None:
    environment = {ENVIRONMENT: seal_environment()}
    secrets = {BUILD_SECRETS: seal_build_secrets()}

    assert seal_grants(RING, make_job(UPLOAD, **WITHOUT_REGISTRY, sealed=environment)) is None
    assert seal_grants(RING, make_job(REPLACE, **WITHOUT_REGISTRY, sealed=secrets)) is None


def test_a_build_of_an_upload_is_given_a_token_of_its_attempt_and_nothing_of_git() -> None:
    bound = SealContext(GIT_TOKEN, "organization", "application", "git.example", "porter")
    sealed_token = {GIT_TOKEN: VAULT.public.seal("ghp_canary", bound)}
    job = make_job(UPLOAD, **WITHOUT_REGISTRY, sealed=sealed_token)
    first, second = make_token(job), make_token(job)
    assert first
    assert second

    text = seal_grants(RING, job, first)

    assert text is not None
    context = replace(context_of(job), host="")
    given = Grants.model_validate_json(KeyRing([SERVER]).open(text, context))
    assert {name: secret.get_secret_value() for name, secret in given.secrets.items()} == {
        CONTEXT_TOKEN: first.get_secret_value()
    }
    assert first != second
    assert len(first.get_secret_value()) >= 43
    with pytest.raises(CredentialError):
        KeyRing([SERVER]).open(text, replace(context, attempt=3))


@pytest.mark.parametrize("command", [BUILD, COPY, PULL, AD_HOC])
def test_a_build_without_an_upload_gets_no_token(command: Command) -> None:
    assert make_token(make_job(command)) is None


@pytest.mark.parametrize(
    "changes",
    [{"url": "https://evil.example/team/app.git"}, {"username": "mallory"}],
)
def test_a_git_token_is_for_its_host_and_user_only(changes: dict[str, str]) -> None:
    bound = SealContext(GIT_TOKEN, "organization", "application", "git.example", "porter")
    moved = BUILD.model_copy(update={"source": BUILD.source.model_copy(update=changes)})
    job = make_job(moved, sealed={GIT_TOKEN: VAULT.public.seal("ghp_canary", bound)})

    with pytest.raises(CredentialError):
        seal_grants(RING, job)


@pytest.mark.parametrize("command", [PULL, PUSH, TEST])
def test_a_token_that_says_it_has_expired_is_given_to_no_server(command: Command) -> None:
    token = base64.b64encode(json.dumps({"expiration": NOON.timestamp()}).encode()).decode()
    context = SealContext("credential", "organization", "registry", HOST, "alice")
    row = fault_document(password=VAULT.public.seal(token, context))
    job = make_job(command, registries={"registry": row})

    assert seal_grants(RING, job, now=NOON + timedelta(minutes=4))
    with pytest.raises(RegistryError) as caught:
        seal_grants(RING, job, now=NOON + timedelta(minutes=6))

    assert caught.value.code == FaultCode.AUTH_EXPIRED
    assert "expired at 2026-11-30 12:00:00 UTC" in caught.value.message
    assert token not in str(caught.value.fault())


def test_a_server_gets_the_signatures_of_an_image_and_not_the_key() -> None:
    key = SigningKey.generate()
    context = SealContext("signing_key", "organization", "key", "", "")
    command = SignatureSign(
        reference=f"{HOST}/team/app@sha256:{'a' * 64}",
        registry_id="registry",
        signing_key_id="key",
        fingerprint=key.public.fingerprint,
        forms=("tag", "bundle"),
    )
    job = make_job(command, sealed={"signing_key": VAULT.public.seal(key.pem, context)})

    text = seal_grants(RING, job)

    assert text is not None
    opened = KeyRing([SERVER]).open(text, context_of(job))
    assert "PRIVATE KEY" not in opened
    document = parse_bundle(
        Grants.model_validate_json(opened).secrets[BUNDLE].get_secret_value().encode()
    )
    assert document
    required = Requirements((key.public,))
    assert verify_documents(f"sha256:{'a' * 64}", [document], required).violations == ()


def test_a_key_of_another_organization_does_not_sign() -> None:
    key = SigningKey.generate()
    context = SealContext("signing_key", "another", "key", "", "")
    command = SignatureSign(
        reference=f"{HOST}/team/app@sha256:{'a' * 64}",
        registry_id="registry",
        signing_key_id="key",
        fingerprint=key.public.fingerprint,
        forms=("tag",),
    )
    job = make_job(command, sealed={"signing_key": VAULT.public.seal(key.pem, context)})

    with pytest.raises(CredentialError):
        seal_grants(RING, job)
