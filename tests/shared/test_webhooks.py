"""Signatures as Standard Webhooks has them; which host a secret is for."""

import base64

import pytest

from shared.webhooks import KEY_BYTES, PREFIX, host_of, make_secret, sign


def test_the_standards_own_example_gets_its_signature() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks for libraries."""
    signature = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_is_random_and_as_the_standard_writes_it() -> None:
    made = {make_secret() for _ in range(10)}

    assert len(made) == 10
    assert {len(base64.b64decode(one.removeprefix(PREFIX))) for one in made} == {KEY_BYTES}


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Hooks.Example/a?b=c", "hooks.example"),
        ("https://hooks.example:443", "hooks.example"),
        ("https://hooks.example:80/", "hooks.example:80"),
        ("http://10.0.0.1:80/", "10.0.0.1"),
        ("http://10.0.0.1:8080/", "10.0.0.1:8080"),
    ],
)
def test_a_host_has_its_port_where_that_is_not_the_schemes(url: str, host: str) -> None:
    assert host_of(url) == host
