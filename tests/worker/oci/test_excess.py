"""The rights of a login beyond need, read from tokens, names and the catalog without a request."""

import pytest

from shared.jobs.diagnosis import ExcessCode
from tests.fakes.token_server import TokenServer
from tests.worker.oci.parts import PASSWORDS, make_login
from worker.local.registry import LocalRegistry
from worker.oci.auth.scope import UNKNOWN, Access, Claims
from worker.oci.excess import find_excess
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.settings import ConnectionSettings

HOST, REPOSITORY = "registry.example", "team/connection-test"
OURS = Access(type="repository", name=REPOSITORY, actions=["pull", "push"])


def codes(
    claims: Claims = UNKNOWN,
    *,
    registry: str = HOST,
    repository: str = REPOSITORY,
    username: str = "builder",
    lists_all: bool = False,
) -> list[str]:
    found = find_excess(claims, registry, repository, username, lists_all=lists_all)
    return [str(one.code) for one in found]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        (UNKNOWN, []),
        (Claims(access=[OURS]), []),
        (Claims(access=[OURS.model_copy(update={"actions": ["pull", "delete"]})]), ["delete"]),
        (Claims(access=[OURS.model_copy(update={"actions": ["*"]})]), ["everything"]),
        (Claims(access=[OURS.model_copy(update={"name": "*"})]), ["all_repositories"]),
        (Claims(access=[OURS.model_copy(update={"name": "other", "actions": ["delete"]})]), []),
        (Claims(scope="repo:read"), []),
        (Claims(scope="repo:admin"), ["administrator"]),
    ],
)
def test_a_token_tells_its_rights(claims: Claims, expected: list[str]) -> None:
    assert codes(claims) == expected


@pytest.mark.parametrize(
    ("registry", "username", "expected"),
    [
        (HOST, "admin", ["administrator"]),
        (HOST, "robot$ci", ["all_repositories"]),
        (HOST, "robot$team+ci", []),
        ("quay.io", "alice", ["personal_account"]),
        ("quay.io", "team+ci", []),
        ("quay.io", "$oauthtoken", []),
        ("ghcr.io", "admin", []),
    ],
)
def test_some_accounts_are_known_by_their_names(
    registry: str, username: str, expected: list[str]
) -> None:
    assert codes(registry=registry, username=username) == expected


def test_the_catalog_tells_of_a_login_that_is_for_one_namespace_only() -> None:
    assert codes(lists_all=True) == ["all_repositories"]
    assert codes(lists_all=True, repository="connection-test") == []


async def test_the_test_of_a_registry_shows_what_a_login_may_do_beyond_need(
    token_registry: LocalRegistry, token_server: TokenServer, settings: ConnectionSettings
) -> None:
    needed = frozenset({"pull", "push"})
    token_server.rights = {"alice": needed | {"delete"}, "bob": needed}
    found = {}
    for username in ("alice", "bob"):
        login = make_login(token_registry.host, username, PASSWORDS[username])
        request = ProbeRequest(token_registry.host, login, repository=REPOSITORY)
        report = await probe(request, settings)
        assert report.fault() is None, report
        found[username] = [one.code for one in report.excess]
    asked = list(token_server.scopes)

    assert found == {"alice": [ExcessCode.DELETE], "bob": []}
    assert all("delete" not in scope or REPOSITORY in scope for scope in asked)


async def test_a_registry_with_basic_that_lists_all_is_told_of(
    basic_registry: LocalRegistry, settings: ConnectionSettings
) -> None:
    login = make_login(basic_registry.host)

    report = await probe(ProbeRequest(basic_registry.host, login, repository=REPOSITORY), settings)

    assert [one.code for one in report.excess] == [ExcessCode.ALL_REPOSITORIES]
    assert "team" in report.excess[0].message
