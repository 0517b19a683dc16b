"""Host paths that containers may mount: the directories of a list, and those below them."""

from collections.abc import Iterable
from posixpath import isabs, normpath


def is_within(path: str, allowed: Iterable[str]) -> bool:
    """Return whether a path is one of these or below one, by name alone; links are not followed."""
    plain = _plain(path)
    return isabs(path) and any(
        _plain(root) == "/" or f"{plain}/".startswith(f"{_plain(root)}/") for root in allowed
    )


def _plain(path: str) -> str:
    """Remove ``..`` and doubled slashes, also two leading ones, which POSIX preserves."""
    return f"/{normpath(path).lstrip('/')}"
