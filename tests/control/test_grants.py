"""Control opens a credential for just the host, user and organization it was stored for."""

from dataclasses import replace
from typing import Any

import pytest

from shared.errors import CredentialError
from shared.jobs.commands import Command, ImagePull, ImagePush, ImageTag, RegistryTest
from shared.jobs.store.release import Released
from shared.vault import KeyRing, PrivateKey, SealContext
from worker.control.grants import seal_grant
from worker.login import Grant, login_context

VAULT, SERVER = PrivateKey.generate(), PrivateKey.generate()
RING = KeyRing([VAULT])
HOST, SECRET = "registry.example", "what-nobody-may-see"
TEST = RegistryTest(host=HOST, username="alice", repository="team/app")
PULL = ImagePull(reference=f"{HOST}/team/app:1", registry_id="registry")
PUSH = ImagePush(source="app:1", reference=f"{HOST}/team/app:1", registry_id="registry")


def context_of(job: Released) -> SealContext:
    return login_context(
        organization_id=job.organization_id,
        job_id=job.job_id,
        attempt=job.attempt,
        server_id=job.server_id,
        host=HOST,
    )


def sealed(purpose: str = "credential", object_id: str = "registry", **changes: Any) -> str:
    context = SealContext(purpose, "organization", object_id, HOST, "alice")
    return VAULT.public.seal(SECRET, replace(context, **changes))


def stored(**changes: Any) -> dict[str, Any]:
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
        sealed_password=None,
        registry=stored(),
    )
    return replace(job, **changes)


def open_grant(job: Released, text: str | None, **changes: Any) -> Grant:
    assert text is not None
    context = replace(context_of(job), **changes)
    return Grant.model_validate_json(KeyRing([SERVER]).open(text, context))


@pytest.mark.parametrize(
    ("command", "rights"), [(PULL, {"pull"}), (PUSH, {"pull", "push"}), (TEST, {"pull", "push"})]
)
def test_a_grant_says_for_what_it_is_given(command: Command, rights: set[str]) -> None:
    job = make_job(command)

    grant = open_grant(job, seal_grant(RING, job))

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
    text = seal_grant(RING, job)

    with pytest.raises(CredentialError):
        open_grant(job, text, **changes)


def test_another_server_cannot_open_a_grant() -> None:
    job = make_job(PULL)
    text = seal_grant(RING, job)
    assert text is not None

    with pytest.raises(CredentialError):
        KeyRing([PrivateKey.generate(), VAULT]).open(text, context_of(job))


@pytest.mark.parametrize(
    "command", [ImageTag(source="a", reference="b"), ImagePull(reference=f"{HOST}/team/app:1")]
)
def test_what_needs_no_login_gets_none(command: Command) -> None:
    assert seal_grant(RING, make_job(command, registry_id=None, registry=None)) is None


def test_a_password_given_with_a_job_is_used_for_that_job() -> None:
    password = sealed("password", "job")
    job = make_job(TEST, registry_id=None, registry=None, sealed_password=password)

    grant = open_grant(job, seal_grant(RING, job))

    assert grant.login.secret.get_secret_value() == SECRET


EVIL_TEST = RegistryTest(host="evil.example", username="alice", repository="team/app")
EVIL_PULL = ImagePull(reference="evil.example/team/app:1", registry_id="registry")
WITHOUT_REGISTRY = {"registry_id": None, "registry": None}


@pytest.mark.parametrize(
    "job",
    [
        # The row was changed by hand, with the job or without it.
        make_job(PULL, registry=stored(host="evil.example")),
        make_job(EVIL_PULL, registry=stored(host="evil.example")),
        make_job(EVIL_TEST, registry=stored(host="evil.example")),
        make_job(PULL, registry=stored(username="mallory")),
        # The job was changed.
        make_job(EVIL_PULL),
        make_job(EVIL_TEST),
        # A ciphertext was copied from elsewhere.
        make_job(PULL, registry=stored(password=sealed(organization_id="another"))),
        make_job(PULL, registry=stored(password=sealed(object_id="another"))),
        make_job(PULL, registry=stored(password=sealed(purpose="password"))),
        make_job(PULL, organization_id="another"),
        make_job(PULL, registry=stored(password="junk")),
        make_job(
            PULL,
            registry=stored(
                password=PrivateKey.generate().public.seal(
                    "x", SealContext("credential", "organization", "registry", HOST, "alice")
                )
            ),
        ),
        # A password of one job with another, for another host, by another user.
        make_job(TEST, **WITHOUT_REGISTRY, sealed_password=sealed("password", "another")),
        make_job(EVIL_TEST, **WITHOUT_REGISTRY, sealed_password=sealed("password", "job")),
        make_job(TEST, **WITHOUT_REGISTRY, sealed_password=sealed("credential", "registry")),
        make_job(
            TEST.model_copy(update={"username": "mallory"}),
            **WITHOUT_REGISTRY,
            sealed_password=sealed("password", "job"),
        ),
        # There is none.
        make_job(TEST, **WITHOUT_REGISTRY),
        make_job(PUSH, **WITHOUT_REGISTRY),
        make_job(PULL, registry=None),
    ],
)
def test_a_credential_is_used_for_nothing_but_what_it_was_stored_for(job: Released) -> None:
    with pytest.raises(CredentialError) as caught:
        seal_grant(RING, job)

    assert caught.value.code == "credential_unreadable"
    assert SECRET not in f"{caught.value.message} {caught.value.remedy}"
