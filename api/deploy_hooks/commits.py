"""Parse pushes of commits from git hosts, and choose those to deploy; pure.

GitHub, Gitea and Forgejo (``repository``), GitLab (``project``), and any sender of the same
``ref``, ``after`` and, if it likes, ``repository`` and ``commits``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.deploy_hooks.answers import Ignored
from api.fields.sources import Branch, Commit
from shared.models import Application, DeployHook

HEADS = "refs/heads/"
MAX_TITLE_CHARACTERS = 200

_BRANCH: TypeAdapter[str] = TypeAdapter(Branch)
_COMMIT: TypeAdapter[str] = TypeAdapter(Commit)
_URLS = ("clone_url", "git_http_url", "git_ssh_url", "html_url", "http_url", "ssh_url", "web_url")


@dataclass(frozen=True)
class CommitPush:
    """A push to a branch. ``repositories`` are the repository's names, host and path, if known.

    ``files`` are those that changed, `None` if the sender does not name all. ``event_id`` is the
    same for a repeated notification, and another one if a branch goes back to a commit.
    """

    branch: str
    commit: str
    repositories: frozenset[str]
    default_branch: str | None
    files: Sequence[str] | None
    title: str
    event_id: str


def parse_commit_push(body: object) -> CommitPush | None:
    """Return the push of a branch; `None` for tags, deleted branches and other events."""
    if not isinstance(body, dict):
        return None
    ref, after, about = _text(body, "ref"), _text(body, "after"), _about(body)
    branch = ref.removeprefix(HEADS)
    if (
        branch == ref
        or not after.strip("0")
        or not (_fits(_BRANCH, branch) and _fits(_COMMIT, after))
    ):
        return None
    default = about.get("default_branch")
    return CommitPush(
        branch=branch,
        commit=after,
        repositories=frozenset(_names(about)),
        default_branch=default if isinstance(default, str) else None,
        files=_files(body),
        title=_title(body, after),
        event_id=f"{ref} {_text(body, 'before')} {after}",
    )


def choose_commit(
    application: Application, hook: DeployHook, push: CommitPush | None
) -> CommitPush | Ignored:
    """Return the push if it is to be deployed.

    Without a filter the branch is the application's; without one of its own it is the default
    branch of the repository.
    """
    if push is None:
        return Ignored(ignored="no_push", message="the request does not report a push to a branch")
    own = _name(application.git_url or "")
    if push.repositories and own not in push.repositories:
        return Ignored(ignored="other_repository", message=f"the push is not to {own}")
    wanted = hook.branch_filter or application.git_branch or push.default_branch
    if hook.branch_filter is None and wanted is not None:
        is_wanted = push.branch == wanted
    else:
        is_wanted = wanted is None or fnmatchcase(push.branch, wanted)
    if not is_wanted:
        return Ignored(
            ignored="branch_not_wanted", message=f"the branch {push.branch} is not {wanted}"
        )
    if hook.path_filters and push.files is not None and not _touches(push.files, hook.path_filters):
        return Ignored(
            ignored="paths_not_wanted",
            message=f"no changed file matches {', '.join(hook.path_filters)}"[:500],
        )
    return push


def _touches(files: Sequence[str], filters: Sequence[str]) -> bool:
    return any(fnmatchcase(file, each) for file in files for each in filters)


def _about(body: dict[Any, Any]) -> dict[Any, Any]:
    """Return what is said of the repository: GitLab's ``project`` says more."""
    for name in ("project", "repository"):
        if isinstance(body.get(name), dict):
            found: dict[Any, Any] = body[name]
            return found
    return {}


def _names(about: dict[Any, Any]) -> Iterator[str]:
    for key in _URLS:
        if text := about.get(key):
            yield _name(str(text))


def _name(url: str) -> str:
    """Return host and path of a repository: ``git@host:a/b.git`` → ``host/a/b``."""
    rest = url.partition("://")[2] or url.replace(":", "/", 1)
    host, _, path = rest.rpartition("@")[2].partition("/")
    for port in (":443", ":80", ":22"):
        host = host.removesuffix(port)
    return f"{host.lower()}/{path.strip('/').removesuffix('.git').lower()}"


def _files(body: dict[Any, Any]) -> Sequence[str] | None:
    commits = body.get("commits")
    total = body.get("total_commits_count")
    if not isinstance(commits, list) or not commits:
        return None
    if isinstance(total, int) and total > len(commits):
        return None
    files = []
    for commit in commits:
        lists = [_list(commit, key) for key in ("added", "modified", "removed")]
        if all(each is None for each in lists):
            return None
        files += [str(file) for each in lists for file in each or ()]
    return files


def _list(commit: object, key: str) -> list[object] | None:
    found = commit.get(key) if isinstance(commit, dict) else None
    return found if isinstance(found, list) else None


def _title(body: dict[Any, Any], commit: str) -> str:
    head = body.get("head_commit")
    commits = body.get("commits")
    listed = commits if isinstance(commits, list) and commits else [None]
    newest = head if isinstance(head, dict) else listed[-1]
    message = newest.get("message") if isinstance(newest, dict) else None
    text = message.strip().partition("\n")[0] if isinstance(message, str) else ""
    return (text or f"commit {commit[:12]}")[:MAX_TITLE_CHARACTERS]


def _text(body: dict[Any, Any], name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""


def _fits(kind: TypeAdapter[str], value: str) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True
