"""Choose the commit of a repository that a source names."""

from collections.abc import Mapping

from shared.errors import SourceError
from shared.faults import FaultCode
from shared.jobs.sources import GitSource
from worker.builds.sources.git.refs import Advertisement

MAX_SHOWN = 20

_BRANCHES = "refs/heads/"
_DEFAULTS = {"main", "master"}
_HEX = frozenset("0123456789abcdef")


def shorten(texts: list[str]) -> tuple[str, ...]:
    """Return the first texts, and the number of the others."""
    more = len(texts) - MAX_SHOWN
    return (*texts[:MAX_SHOWN], f"{more} more") if more > 0 else tuple(texts)


def choose_commit(advertisement: Advertisement, source: GitSource) -> str:
    """Return the commit to fetch: the named one, or that of a branch or tag.

    Raises:
        SourceError: ``revision_not_found``.
    """
    where = advertisement.remote.url
    if source.commit:
        commit = source.commit.lower()
        if len(commit) in {40, 64} and set(commit) <= _HEX:
            return commit
        raise SourceError(
            FaultCode.REVISION_NOT_FOUND,
            f"{source.commit[:80]!r} is not the whole id of a commit of {where}",
            remedy="Give all 40 characters of the commit's id, or all 64 in a SHA-256 repository. "
            "Check that the commit was pushed.",
        )
    names = [source.branch or "HEAD"]
    if source.branch:
        tag = f"refs/tags/{source.branch}"
        names = [f"refs/heads/{source.branch}", f"{tag}^{{}}", tag]
    found = next((advertisement.refs[name] for name in names if name in advertisement.refs), None)
    if found is None and not source.branch:
        found = _find_default(advertisement.refs)
    if found is not None:
        return found
    problem = f"{where} has no branch or tag {(source.branch or '')[:200]!r}"
    if not source.branch:
        branches = [name for name in advertisement.refs if name.startswith(_BRANCHES)]
        problem = f"{where} has no commit yet"
        if branches:
            shown = ", ".join(shorten([name.removeprefix(_BRANCHES) for name in branches]))
            problem = f"{where} has no default branch; its branches are {shown[:500]}"
    raise SourceError(FaultCode.REVISION_NOT_FOUND, problem)


def _find_default(refs: Mapping[str, str]) -> str | None:
    """Return the commit of the only branch, or of the one that is named like a default branch."""
    branches = [name for name in refs if name.startswith(_BRANCHES)]
    if len(branches) > 1:
        branches = [name for name in branches if name.removeprefix(_BRANCHES) in _DEFAULTS]
    return refs[branches[0]] if len(branches) == 1 else None
