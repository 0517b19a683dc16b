"""The logins of one attempt: that of a base image is the one with the longest prefix that fits."""

from pydantic import SecretStr

from shared.reference import Reference
from worker.login import Grant, Grants, Login


def make(name: str, repository: str, host: str = "registry.example", right: str = "pull") -> Grant:
    login = Login(host=host, username=name, secret=SecretStr("word"))
    return Grant.model_validate(
        {"login": login, "repository": repository, "rights": frozenset({right})}
    )


def test_a_base_is_pulled_with_the_login_of_the_longest_prefix_that_fits() -> None:
    grants = Grants(
        grants=(
            make("any", "*"),
            make("team", "team/*"),
            make("app", "team/app/*"),
            make("exact", "team/app/base"),
            make("other", "*", host="other.example"),
            make("writer", "team/app/base/*", right="push"),
        )
    )

    def find(repository: str, host: str = "registry.example") -> str | None:
        login = grants.login_for_base(Reference(host, repository, "1"))
        return login.username if login else None

    assert find("team/app/base") == "app"
    assert find("team/tool") == "team"
    assert find("teams/tool") == "any"
    assert find("team/tool", "other.example") == "other"
    assert find("team/tool", "third.example") is None
