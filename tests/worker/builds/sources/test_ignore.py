"""``.dockerignore`` works as in Docker's documentation and tests."""

import posixpath
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SourceError
from worker.builds.sources.ignore import parse_ignore


@pytest.mark.parametrize(
    ("text", "path", "is_excluded"),
    [
        ("*/temp*", "somedir/temporary.txt", True),
        ("*/temp*", "somedir/subdir/temporary.txt", False),
        ("*/*/temp*", "somedir/subdir/temporary.txt", True),
        ("temp?", "tempa", True),
        ("temp?", "temp", False),
        ("**/*.go", "a.go", True),
        ("**/*.go", "a/b/c.go", True),
        ("**", "anything/at/all", True),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**/c", "a/c", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README.md", "other.md", True),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
        ("node_modules", "node_modules/a/b.js", True),
        ("node_modules", "a/node_modules", False),
        ("/foo/bar", "foo/bar", True),
        ("./foo/", "foo/bar", True),
        ("foo/../bar", "bar", True),
        ("# comment", "# comment", False),
        ("  spaced  ", "spaced", True),
        ("*\n!src", "src/deep/file", False),
        ("src\n!src/keep", "src/keep", False),
        ("src\n!src/keep", "src/other", True),
        ("[a-c].txt", "b.txt", True),
        ("[^a-c].txt", "b.txt", False),
        ("a[.txt", "a[.txt", True),
        ("\\*.txt", "*.txt", True),
        ("\\*.txt", "a.txt", False),
        ("a.b", "axb", False),
        ("!", "a", False),
        (".", "a", False),
        ("", "a", False),
    ],
)
def test_a_file_is_excluded_as_in_docker(text: str, path: str, *, is_excluded: bool) -> None:
    assert parse_ignore(text).excludes(path) is is_excluded


@given(st.text(max_size=60), st.text(min_size=1, max_size=30))
def test_no_pattern_breaks_the_reader(text: str, path: str) -> None:
    assert parse_ignore(text).excludes(path) in {True, False}


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


@given(st.lists(NAMES, min_size=1, max_size=4), st.lists(NAMES, max_size=3))
def test_the_content_of_an_excluded_directory_is_excluded(
    steps: list[str], below: list[str]
) -> None:
    ignore = parse_ignore("/".join(steps))

    assert ignore.excludes("/".join([*steps, *below]))


CHARACTERS = st.sampled_from(["a", "b", "/", "*", "**", "**/", "?", "[ab]", "[^a]", "\\*"])
PATHS = st.lists(st.sampled_from(["a", "b", "/", "*"]), min_size=1, max_size=8).map("".join)


@given(st.lists(CHARACTERS, min_size=1, max_size=7).map("".join), PATHS)
def test_a_pattern_matches_like_docker_s_regular_expression(pattern: str, path: str) -> None:
    expression = _expression(posixpath.normpath(pattern).lstrip("/"))
    steps = path.split("/")
    parents = ["/".join(steps[: index + 1]) for index in range(len(steps))]

    expected = any(re.fullmatch(expression, parent, re.DOTALL) for parent in parents)

    assert parse_ignore(f"x\n{pattern}").excludes(path) is (
        expected and expression not in {"", "\\."}
    )


def _expression(pattern: str) -> str:
    tokens = re.findall(r"\*\*/?|\*|\?|\[\^?[ab]+\]|\\.|.", pattern)
    made = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        made.get(token) or (f"(?!/){token}" if len(token) > 2 else re.escape(token[-1]))
        for token in tokens
    )


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 250),
        ("**/" + "a*/**/" * 40 + "b", "a/" * 250 + "c"),
        ("**a" * 40 + "b", "a/" * 250),
        ("\n".join(f"**/{index}*?*/**x" for index in range(1000)), "a/" * 250),
    ],
    ids=["stars", "directories", "double stars", "many"],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    start = time.process_time()

    assert not parse_ignore(pattern).excludes(path)

    assert time.process_time() - start < 5


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(SourceError):
        parse_ignore("*a\n" * 100_000)
