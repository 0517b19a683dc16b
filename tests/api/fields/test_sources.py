"""Names of sources lead nowhere else, and git takes none for an option."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from api.errors import InvalidSourceError
from api.fields.sources import (
    Branch,
    BuildPath,
    Commit,
    ContextPath,
    DockerfilePath,
    clean_path,
    parse_git_url,
)
from shared.errors import InvalidInputError, RefusedNetworkError
from shared.networks import parse_networks

NETWORKS = parse_networks("public,private")


def taken(kind: Any, text: str | None) -> Any:
    return TypeAdapter(kind).validate_python(text)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://github.com/myorg/app.git", "github.com"),
        ("HTTPS://GitHub.com/myorg/app", "github.com"),
        ("https://git.example.com:443/app", "git.example.com"),
        ("https://git.example.com:8443/app", "git.example.com:8443"),
        ("http://git.example.com:80/app", "git.example.com"),
        ("http://gitea:3000/a/b.git/", "gitea:3000"),
        ("https://10.1.2.3/~me/a%20b.git", "10.1.2.3"),
        ("git@GitHub.com:myorg/app.git", "github.com"),
        ("ssh://git@git.example.com:22/app.git", "git.example.com"),
        ("ssh://git@git.example.com:2222/app.git", "git.example.com:2222"),
    ],
)
def test_the_host_of_a_repository_is_canonical(url: str, host: str) -> None:
    assert parse_git_url(url, NETWORKS).host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app",
        "/srv/git/app.git",
        "./app.git",
        "../app.git",
        "C:\\app.git",
        "file:///srv/git/app.git",
        "ext::sh -c touch% /tmp/pwned",
        "ext://sh",
        "fd::17/foo",
        "git@github.com:-myorg/app.git",
        "ssh://git:hush@github.com/myorg/app.git",
        "ssh://-oProxyCommand=x/app.git",
        "git://github.com/myorg/app.git",
        "--upload-pack=touch /tmp/pwned",
        "-c core.sshCommand=x",
        "https://--upload-pack=x/app.git",
        "https://-git.example/app.git",
        "https://user:hush@github.com/myorg/app.git",
        "https://hush@github.com/myorg/app.git",
        "https://github.com",
        "https://github.com/",
        "https:///app.git",
        "https://github.com:99999/app.git",
        "https://github.com:x/app.git",
        "https://git hub.com/app.git",
        "https://github.com/app.git#main:sub",
        "https://github.com/app.git?x=1",
        "https://github.com/../app.git",
        "https://github.com/app.git\n--upload-pack=x",
        "https://github.com/app\0.git",
        "https://github.com/app\\.git",
        "https://github.com\\@evil.example/app.git",
        "https://[::1]/app.git",
        "https://gïthub.com/app.git",
        "https://github.com/äpp.git",
        " https://github.com/app.git",
    ],
)
def test_an_invalid_url_of_a_repository_is_refused(url: str) -> None:
    with pytest.raises(InvalidSourceError) as caught:
        parse_git_url(url, NETWORKS)

    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "git.localhost:3000", "169.254.169.254", "0.0.0.0"]
)
def test_an_address_that_a_registry_may_not_have_no_repository_has(host: str) -> None:
    with pytest.raises(RefusedNetworkError):
        parse_git_url(f"https://{host}/app.git", NETWORKS)


@given(url=st.text() | st.text(st.sampled_from("htps:/@#?.-\\a1 ")).map("https://".__add__))
def test_any_text_has_one_host_or_is_refused(url: str) -> None:
    try:
        found = parse_git_url(url, NETWORKS)
    except InvalidInputError:
        return

    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname) == (found.scheme, found.hostname)
    assert (parts.username, parts.password, parts.query, parts.fragment) == (None, None, "", "")


@pytest.mark.parametrize(
    "name", ["main", "feature/#42", "v1.2.3", "a@b", "renovate/node-22.x", "ü"]
)
def test_the_name_of_a_branch_is_taken(name: str) -> None:
    assert taken(Branch, name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-x",
            "--upload-pack=x",
            "/main",
            "main/",
            "a//b",
            "a..b",
            ".a",
            "a/.b",
            "a.",
            "a./b",
        ),
        *("a.lock", "a.lock/b", "@", "a@{1}", "a b", "a\tb", "a\nb", "a\0b", "a~1", "a^", "a:b"),
        *("a?", "a*", "a[b", "a\\b", "x" * 251),
    ],
)
def test_an_invalid_name_of_a_branch_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        taken(Branch, name)


@pytest.mark.parametrize(
    "commit", ["abc123", "HEAD", "A" * 40, "g" * 40, "a" * 41, "a" * 40 + "\n"]
)
def test_a_commit_is_named_in_full(commit: str) -> None:
    assert taken(Commit, "a" * 40) == "a" * 40
    with pytest.raises(ValidationError):
        taken(Commit, commit)


@pytest.mark.parametrize(
    ("kind", "text", "path"),
    [
        (BuildPath, None, "/"),
        (BuildPath, "/", "/"),
        (BuildPath, "./apps//web/", "/apps/web"),
        (ContextPath, None, "."),
        (ContextPath, "", "."),
        (ContextPath, "/", "."),
        (ContextPath, "./app", "app"),
        (DockerfilePath, None, "Dockerfile"),
        (DockerfilePath, "", "Dockerfile"),
        (DockerfilePath, "./docker/Dockerfile.prod", "docker/Dockerfile.prod"),
        (DockerfilePath, "with space/ü.Dockerfile", "with space/ü.Dockerfile"),
    ],
)
def test_a_path_is_kept_in_one_form(kind: Any, text: str | None, path: str) -> None:
    assert taken(kind, text) == path


@pytest.mark.parametrize("kind", [BuildPath, ContextPath, DockerfilePath])
@pytest.mark.parametrize(
    "text",
    ["..", "../x", "a/../../x", "a/..", "-x", "./-x", "a\nb", "a\0b", "a\\b", "\x1b", "x" * 501],
)
def test_a_path_that_leads_out_or_is_an_option_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValidationError):
        taken(kind, text)


def test_an_absolute_dockerfile_is_refused() -> None:
    with pytest.raises(ValidationError):
        taken(DockerfilePath, "/etc/passwd")


@given(text=st.text() | st.text(st.sampled_from("./-a\\")))
def test_a_clean_path_stays_inside_and_is_clean_already(text: str) -> None:
    try:
        path = clean_path(text)
    except ValueError:
        return

    assert not path.startswith(("/", "-"))
    assert ".." not in path.split("/")
    assert clean_path(path) == path
