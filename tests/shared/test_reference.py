"""Hosts, prefixes and references, as Docker reads them and as the seed document writes them."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidReferenceError
from shared.reference import (
    HUB,
    Reference,
    make_reference,
    parse_prefix,
    parse_reference,
    parse_registry,
)

DIGEST = f"sha256:{'ab' * 32}"

ALPHANUMERIC = string.ascii_lowercase + string.digits
LABELS = st.text(ALPHANUMERIC, min_size=1, max_size=6)
COMPONENTS = st.lists(
    st.tuples(LABELS, st.sampled_from(["", ".", "_", "__", "-", "---"])), min_size=1, max_size=3
).map(lambda parts: "".join(label + mark for label, mark in parts).rstrip("._-"))
ANY_PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
PATHS = ANY_PATHS.filter(  # whose first part is no host
    lambda path: "." not in path.partition("/")[0] and path.partition("/")[0] != "localhost"
)
TAGS = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=20).filter(
    lambda tag: tag[0] not in ".-"
)
HOSTS = st.one_of(
    st.just(HUB),
    st.just("localhost"),
    st.lists(LABELS, min_size=2, max_size=4).map(".".join),
    st.tuples(LABELS, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "docker.io",
        "https://docker.io/",
        "index.docker.io",
        "https://index.docker.io/v1/",
        "https://index.docker.io/v1",
        "http://index.docker.io/v2/",
        "registry-1.docker.io",
        "registry.hub.docker.com",
        "https://hub.docker.com",
        "HTTPS://Index.Docker.IO:443/v1/",
    ],
)
def test_every_spelling_of_docker_hub_is_one_registry(url: str) -> None:
    host = parse_registry(url)

    assert host.name == "docker.io"
    assert host.api_host == host.hostname == "registry-1.docker.io" and host.port is None
    assert host.login_key == "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("ghcr.io", "ghcr.io"),
        ("gcr.io", "gcr.io"),
        ("myregistry.azurecr.io", "myregistry.azurecr.io"),
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("https://Registry.Example.COM/", "registry.example.com"),
        ("registry.example.com:443", "registry.example.com"),
        ("http://registry.example.com:443", "registry.example.com:443"),
        ("http://registry.example.com:80", "registry.example.com:80"),
        ("  ghcr.io  ", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("registry.example.com:05000", "registry.example.com:5000"),
        ("localhost", "localhost"),
        ("myhost:5000", "myhost:5000"),
        ("10.0.0.7:5000", "10.0.0.7:5000"),
    ],
)
def test_a_registrys_url_is_its_host(url: str, name: str) -> None:
    host = parse_registry(url)

    assert host.name == host.api_host == host.login_key == name
    assert host.warnings == ()


def test_an_account_of_nine_digits_is_taken_with_a_doubt() -> None:
    host = parse_registry("123456789.dkr.ecr.us-east-1.amazonaws.com")

    assert host.name == "123456789.dkr.ecr.us-east-1.amazonaws.com"
    assert "12 digits" in host.warnings[0]
    assert parse_registry("123456789012.dkr.ecr.us-east-1.amazonaws.com").warnings == ()


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pass@ghcr.io",
        "user@ghcr.io",
        "ghcr.io/myorg",
        "ghcr.io?x=1",
        "ghcr.io#x",
        "ftp://ghcr.io",
        "myhost",
        "[::1]:5000",
        "::1",
        "ghcr.io:0",
        "ghcr.io:65536",
        "ghcr.io:",
        "ghcr..io",
        "-ghcr.io",
        "gh cr.io",
        "ghcr.io\\x",
        "ghcr.io.",
        f"{'a' * 254}.io",
        "a" * 301,
        "https://",
        "https:///v2/",
    ],
)
def test_an_invalid_registry_is_refused(url: str) -> None:
    if url in {"https://", "https:///v2/"}:  # nothing is Docker Hub, with a scheme or without
        assert parse_registry(url).name == HUB
        return
    with pytest.raises(InvalidReferenceError) as caught:
        parse_registry(url)

    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "prefix", "username", "expected"),
    [
        # The seed's examples, each with its own registry.
        ("https://index.docker.io/v1/", "mycompany/", "u", "docker.io/mycompany/my-app:latest"),
        ("ghcr.io", "ghcr.io/myorg/", "u", "ghcr.io/myorg/my-app:latest"),
        (
            "123456789.dkr.ecr.us-east-1.amazonaws.com",
            "123456789.dkr.ecr.us-east-1.amazonaws.com/",
            "AWS",
            "123456789.dkr.ecr.us-east-1.amazonaws.com/my-app:latest",
        ),
        ("gcr.io", "gcr.io/my-project/", "_json_key", "gcr.io/my-project/my-app:latest"),
        ("myregistry.azurecr.io", None, "myregistry", "myregistry.azurecr.io/my-app:latest"),
        ("registry.example.com:5000", None, "admin", "registry.example.com:5000/my-app:latest"),
        # A namespace is required on Docker Hub.
        ("docker.io", None, "DockerHubUser", "docker.io/dockerhubuser/my-app:latest"),
        ("docker.io", "", "", "docker.io/library/my-app:latest"),
        # Whatever slashes, schemes and capitals people write.
        ("ghcr.io", "/MyOrg//team/", "u", "ghcr.io/myorg/team/my-app:latest"),
        ("ghcr.io", "https://ghcr.io/myorg", "u", "ghcr.io/myorg/my-app:latest"),
        ("docker.io", "index.docker.io/mycompany", "u", "docker.io/mycompany/my-app:latest"),
        ("ghcr.io", "GHCR.IO/myorg", "u", "ghcr.io/myorg/my-app:latest"),
        ("localhost:5000", "localhost:5000/a", "u", "localhost:5000/a/my-app:latest"),
    ],
)
def test_prefix_and_name_make_a_reference(
    url: str, prefix: str | None, username: str, expected: str
) -> None:
    assert str(make_reference(url, prefix, "my-app", username=username)) == expected


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("app", "", "ghcr.io/org/app:latest"),
        ("app:1.2", "", "ghcr.io/org/app:1.2"),
        ("app", "1.2", "ghcr.io/org/app:1.2"),
        ("app:1.2", "1.2", "ghcr.io/org/app:1.2"),
        ("team/app", "", "ghcr.io/org/team/app:latest"),
        ("ghcr.io/other/app:2", "", "ghcr.io/other/app:2"),
        (f"app@{DIGEST}", "", f"ghcr.io/org/app@{DIGEST}"),
        (f"app:1@{DIGEST}", "", f"ghcr.io/org/app:1@{DIGEST}"),
    ],
)
def test_a_name_may_be_complete_or_hold_tag_and_digest(name: str, tag: str, expected: str) -> None:
    assert str(make_reference("ghcr.io", "org", name, tag=tag)) == expected


@pytest.mark.parametrize(
    ("prefix", "name", "tag"),
    [
        ("quay.io/org", "app", ""),
        ("org", "quay.io/org/app", ""),
        ("org", "ghcr.io:5000/org/app", ""),
        ("org", "localhost/app", ""),
        ("org", "App", ""),
        ("org", "", ""),
        ("org", "a//b", ""),
        ("org", "../b", ""),
        ("org", "app:1", "2"),
        ("org", "app:", ""),
        ("org", "app", ".1"),
        ("org", "app", "a" * 129),
        ("org", "app@", ""),
        ("org", "app@sha256:12", ""),
        ("or g", "app", ""),
        ("org", "a" * 256, ""),
        ("org", "a" * 250, ""),
    ],
)
def test_another_registry_and_bad_names_are_refused(prefix: str, name: str, tag: str) -> None:
    with pytest.raises(InvalidReferenceError):
        make_reference("ghcr.io", prefix, name, tag=tag)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", Reference("docker.io", "library/alpine")),
        ("alpine:3", Reference("docker.io", "library/alpine", "3")),
        ("mycompany/app:1", Reference("docker.io", "mycompany/app", "1")),
        ("myhost/app", Reference("docker.io", "myhost/app")),
        # A host and its port with no slash are an image and its tag on Docker Hub.
        ("reg.example.com:5000", Reference("docker.io", "library/reg.example.com", "5000")),
        ("reg.example.com:5000/a/b:c", Reference("reg.example.com:5000", "a/b", "c")),
        ("localhost/app", Reference("localhost", "app")),
        ("registry-1.docker.io/library/alpine", Reference("docker.io", "library/alpine")),
        ("index.docker.io/alpine", Reference("docker.io", "library/alpine")),
        (f"ghcr.io/a/b@{DIGEST}", Reference("ghcr.io", "a/b", None, DIGEST)),
        (f"ghcr.io/a/b:1@{DIGEST}", Reference("ghcr.io", "a/b", "1", DIGEST)),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://index.docker.io/v1//mycompany//app",
        "ghcr.io/ghcr.io//myorg//app",
        "MyOrg/app",
        "ghcr.io/MyOrg/app",
        "[::1]:5000/app",
        "ghcr.io/",
        "ghcr.io/a:",
        "ghcr.io/a@",
        "ghcr.io/a@sha256:xyz",
        "ghcr.io/a:b:c",
        "ghcr.io/a b",
        "ghcr.io/a\n",
        "a" * 64,
        f"{'a' * 60}.io/{'b' * 200}",
    ],
)
def test_a_reference_that_docker_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        parse_reference(text)


def test_a_reference_names_its_parts() -> None:
    reference = Reference("ghcr.io", "a/b", "1")

    assert reference.name == "ghcr.io/a/b" and reference.target == "1"
    assert reference.with_digest(DIGEST).target == DIGEST
    assert Reference("ghcr.io", "a/b").target == "latest"


def test_a_single_word_keeps_the_port_that_makes_it_a_host() -> None:
    assert parse_registry("https://registry:443").name == "registry:443"
    assert parse_registry("https://registry.example:443").name == "registry.example"


@given(HOSTS)
def test_a_canonical_host_is_its_own_canonical_host(text: str) -> None:
    host = parse_registry(text)

    assert parse_registry(host.name).name == host.name
    assert parse_registry(f"https://{text.upper()}/").name == host.name


@given(host=HOSTS, path=PATHS, tag=TAGS, with_digest=st.booleans())
def test_a_reference_that_is_written_is_read_again(
    host: str, path: str, tag: str, *, with_digest: bool
) -> None:
    reference = make_reference(host, None, path, tag=tag, username="somebody")
    reference = reference.with_digest(DIGEST) if with_digest else reference

    assert parse_reference(str(reference)) == reference


@given(HOSTS, PATHS, PATHS)
def test_a_prefix_means_the_same_with_and_without_the_host(
    host: str, prefix: str, path: str
) -> None:
    plain = make_reference(host, f"{prefix}/", path)

    assert make_reference(host, f"{host}/{prefix}/", path) == plain
    assert plain.repository == f"{prefix}/{path}"
    assert parse_prefix(parse_registry(host), f"//{prefix}//") == prefix


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_registry, parse_reference):
        try:
            found = parse(text)
        except InvalidReferenceError:
            continue
        assert found.name.isascii()


@given(HOSTS, st.one_of(ANY_PATHS, st.text()), st.one_of(ANY_PATHS, st.text()))
def test_a_reference_never_leaves_its_registry(host: str, prefix: str, name: str) -> None:
    """Whatever prefix and name say: the credential's host and the image's are the same."""
    try:
        reference = make_reference(host, prefix, name)
    except InvalidReferenceError:
        return
    assert reference.registry == parse_registry(host).name
    assert parse_reference(str(reference)).registry == reference.registry


@pytest.mark.parametrize("text", ["my-app:feature/x", "app:release/1.0"])
def test_a_tag_with_a_slash_is_called_so(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="contains a slash") as caught:
        parse_reference(text)

    assert "dashes" in caught.value.remedy
