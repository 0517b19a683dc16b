"""Addresses of repositories behind SSH are parsed, and those with room for options refused."""

import pytest

from shared.errors import InvalidInputError
from shared.ssh.address import SshAddress, is_ssh


@pytest.mark.parametrize(
    ("text", "parsed", "host"),
    [
        ("git@GitHub.com:a/b.git", ("git", "github.com", 22, "a/b.git"), "github.com"),
        ("git@h.example:/srv/b.git/", ("git", "h.example", 22, "/srv/b.git"), "h.example"),
        ("ssh://git@h.example/a/b.git", ("git", "h.example", 22, "/a/b.git"), "h.example"),
        ("SSH://me@h:2222/a", ("me", "h", 2222, "/a"), "h:2222"),
        ("ssh://me@h:22/~me/a", ("me", "h", 22, "~me/a"), "h"),
    ],
)
def test_both_forms_are_parsed(text: str, parsed: tuple[str, str, int, str], host: str) -> None:
    address = SshAddress.parse(text)

    assert is_ssh(text)
    assert (address.user, address.hostname, address.port, address.path) == parsed
    assert address.host == host
    assert SshAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "git@-oProxyCommand=x:a",
        "-oProxyCommand=x@h:a",
        "ssh://-oProxyCommand=x/a",
        "ssh://git@-x/a",
        "git@h:-x",
        "git@h:a b",
        "git@h:a'b",
        "git@h:a;b",
        "git@h:$(x)",
        "git@h:a\nb",
        "git@h:a\0",
        "git@h:../a",
        "git@h:",
        "ssh://git:secret@h/a",
        "ssh://h/a",
        "ssh://git@h",
        "ssh://git@h:0/a",
        "ssh://git@h:99999/a",
        "ssh://git@h/a%20b",
        "h:a",
        "ext::sh -c x",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    assert is_ssh(text) or text.startswith("-")
    with pytest.raises(InvalidInputError):
        SshAddress.parse(text)


def test_a_url_of_http_is_not_one_of_ssh() -> None:
    assert not is_ssh("https://git@h/a:b")
    assert not is_ssh("/srv/a:b")
