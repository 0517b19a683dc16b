import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.oci.auth.challenge import Challenge, parse_challenges

TOKENS = st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1)
PARAMETERS = st.dictionaries(TOKENS.map(str.lower), st.text(), min_size=1, max_size=4)


def _write(scheme: str, parameters: dict[str, str]) -> str:
    return f"{scheme} " + ", ".join(f"{name}={_quote(text)}" for name, text in parameters.items())


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="fake"', [Challenge("basic", {"realm": "fake"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://auth.docker.io/token", "service": "registry.docker.io"},
                )
            ],
        ),
        (
            'Bearer realm="https://a/t",scope="repository:x:pull,push",error="insufficient_scope"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://a/t",
                        "scope": "repository:x:pull,push",
                        "error": "insufficient_scope",
                    },
                )
            ],
        ),
        (
            'Negotiate, NTLM TlRMTVNT==, BASIC Realm = "a \\"b\\"" , Bearer realm=plain',
            [
                Challenge("negotiate"),
                Challenge("ntlm"),
                Challenge("basic", {"realm": 'a "b"'}),
                Challenge("bearer", {"realm": "plain"}),
            ],
        ),
        ("", []),
        ("=,;", []),
        ('Basic realm="open', [Challenge("basic")]),
        ('Basic realm="a" realm="b", Bearer realm="c"', [Challenge("basic", {"realm": "a"})]),
        ('Basic realm="a", realm="b"', [Challenge("basic", {"realm": "a"})]),
    ],
)
def test_a_header_is_parsed_by_the_grammar(header: str, expected: list[Challenge]) -> None:
    assert list(parse_challenges([header])) == expected


def test_several_headers_are_parsed_in_order() -> None:
    found = parse_challenges(['Basic realm="a"', 'Bearer realm="b"'])

    assert [challenge.scheme for challenge in found] == ["basic", "bearer"]


@given(st.lists(st.tuples(TOKENS, PARAMETERS), min_size=1, max_size=3))
def test_written_values_are_read_again(written: list[tuple[str, dict[str, str]]]) -> None:
    header = ", ".join(_write(scheme, parameters) for scheme, parameters in written)

    found = parse_challenges([header])

    assert found == tuple(Challenge(scheme.lower(), values) for scheme, values in written)


@given(st.text())
@example("A" * 50_000 + '="' + "\\" * 50_000)
@example("a=,a " * 20_000)
def test_a_malformed_header_is_never_an_error(text: str) -> None:
    for challenge in parse_challenges([text]):
        assert challenge.scheme == challenge.scheme.lower()
