"""Pushes of commits as GitHub, GitLab, Gitea and others report them, and which are deployed."""

from typing import Any

import pytest

from api.deploy_hooks.answers import Ignored
from api.deploy_hooks.commits import CommitPush, choose_commit, parse_commit_push
from shared.models import Application, DeployHook

BEFORE, AFTER = "b" * 40, "a" * 40
CHANGED = {"added": ["docs/new.md"], "modified": ["src/app.py"], "removed": []}
COMMIT = {"id": AFTER, "message": "Mend the shop\n\nIt was closed.", **CHANGED}
PUSH = {"ref": "refs/heads/main", "before": BEFORE, "after": AFTER, "commits": [COMMIT]}
GITHUB = {
    **PUSH,
    "deleted": False,
    "head_commit": COMMIT,
    "repository": {
        "full_name": "Acme/Shop",
        "clone_url": "https://github.example/Acme/Shop.git",
        "ssh_url": "git@github.example:Acme/Shop.git",
        "default_branch": "main",
    },
}
GITLAB = {
    **PUSH,
    "object_kind": "push",
    "total_commits_count": 1,
    "project": {
        "git_http_url": "https://github.example/acme/shop.git",
        "default_branch": "main",
    },
    "repository": {"name": "shop"},
}
GITEA = {**PUSH, "repository": {"clone_url": "https://github.example/acme/shop.git"}}
PLAIN = {"ref": "refs/heads/main", "after": AFTER}


def application(**settings: Any) -> Application:
    url = "https://github.example/acme/shop"
    return Application(source_type="git", git_url=url, git_host="github.example", **settings)


def choose(body: object, *, branch: str | None = None, **filters: Any) -> str:
    """The commit that is deployed, or the code of why none is."""
    hook = DeployHook(**{"path_filters": [], **filters})
    found = choose_commit(application(git_branch=branch), hook, parse_commit_push(body))
    return found.ignored if isinstance(found, Ignored) else found.commit


@pytest.mark.parametrize("body", [GITHUB, GITLAB, GITEA, PLAIN])
def test_a_push_of_each_sender_is_deployed(body: dict[str, Any]) -> None:
    assert choose(body) == choose(body, branch="main") == AFTER


@pytest.mark.parametrize(
    ("own", "pushed"),
    [
        ("git@git.example:acme/shop.git", {"ssh_url": "git@git.example:acme/shop.git"}),
        ("git@git.example:acme/shop.git", {"clone_url": "https://git.example/acme/shop.git"}),
        ("ssh://git@git.example/acme/shop", {"git_ssh_url": "git@git.example:acme/shop.git"}),
        ("git@git.example:/acme/shop", {"git_ssh_url": "ssh://git@git.example:22/acme/shop.git"}),
        ("ssh://git@git.example:2222/a/b", {"ssh_url": "ssh://git@git.example:2222/a/b.git"}),
        ("https://git.example/acme/shop", {"ssh_url": "git@git.example:acme/shop.git"}),
    ],
)
def test_a_repository_is_known_by_its_urls_of_ssh_and_https(
    own: str, pushed: dict[str, str]
) -> None:
    settings: dict[str, Any] = {"source_type": "git", "git_url": own, "git_branch": "main"}
    unfiltered: dict[str, Any] = {"path_filters": []}
    behind, hook = Application(**settings), DeployHook(**unfiltered)

    found = choose_commit(behind, hook, parse_commit_push({**PLAIN, "repository": pushed}))
    other = {**PLAIN, "repository": {"ssh_url": "git@git.example:acme/other.git"}}

    assert isinstance(found, CommitPush)
    assert isinstance(choose_commit(behind, hook, parse_commit_push(other)), Ignored)


def test_a_push_has_the_title_of_its_newest_commit() -> None:
    titles = [parse_commit_push(body) for body in (GITHUB, GITLAB, PLAIN)]

    assert [each.title for each in titles if each] == [
        "Mend the shop",
        "Mend the shop",
        f"commit {AFTER[:12]}",
    ]


@pytest.mark.parametrize(
    "body",
    [
        {**GITHUB, "ref": "refs/tags/v1"},
        {**GITHUB, "after": "0" * 40, "deleted": True},
        {**GITHUB, "after": "--upload-pack"},
        {**GITHUB, "ref": "refs/heads/-x"},
        {**GITHUB, "ref": None},
        {"zen": "Keep it logically awesome.", "repository": GITHUB["repository"]},
        {"push_data": {"tag": "1"}, "repository": {"repo_name": "a/b"}},
        [],
        "x",
        None,
    ],
)
def test_what_is_no_push_to_a_branch_is_ignored(body: object) -> None:
    assert choose(body) == "no_push"


@pytest.mark.parametrize(
    ("branch", "branch_filter", "pushed", "wanted"),
    [
        (None, None, "main", True),
        (None, None, "next", False),
        ("next", None, "next", True),
        ("next", None, "main", False),
        (None, "*", "feature/x", True),
        ("next", "main", "main", True),
        (None, "release/*", "release/1/2", True),
        (None, "release/*", "main", False),
    ],
)
def test_the_branch_decides(
    branch: str | None, branch_filter: str | None, pushed: str, *, wanted: bool
) -> None:
    body = {**GITHUB, "ref": f"refs/heads/{pushed}"}

    found = choose(body, branch=branch, branch_filter=branch_filter)

    assert found == (AFTER if wanted else "branch_not_wanted")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ([], True),
        (["src/*"], True),
        (["docs/*.md", "nothing"], True),
        (["web/*"], False),
        (["app.py"], False),
    ],
)
def test_the_changed_files_decide(filters: list[str], *, wanted: bool) -> None:
    found = choose(GITHUB, path_filters=filters)

    assert found == (AFTER if wanted else "paths_not_wanted")


@pytest.mark.parametrize(
    "body",
    [
        {**GITHUB, "commits": []},
        {**GITHUB, "commits": [{"id": AFTER}]},
        {**GITLAB, "total_commits_count": 30},
        PLAIN,
    ],
)
def test_a_push_whose_files_are_not_all_known_passes_every_path_filter(body: object) -> None:
    assert choose(body, path_filters=["web/*"]) == AFTER


@pytest.mark.parametrize(
    "url",
    [
        "https://github.example/acme/blog.git",
        "https://gitlab.example/acme/shop.git",
        "git@github.example:acme/blog.git",
    ],
)
def test_a_push_to_another_repository_is_ignored(url: str) -> None:
    assert choose({**PUSH, "repository": {"clone_url": url}}) == "other_repository"


def test_a_branch_that_goes_back_to_a_commit_is_a_new_event() -> None:
    pushes = [parse_commit_push({**GITHUB, "before": before}) for before in ("b" * 40, "c" * 40)]

    assert len({push.event_id for push in pushes if push}) == 2
