"""A deploy hook's secret opens with its URL's token, and with nothing that is stored."""

import pytest
from cryptography.exceptions import InvalidTag

from api.deploy_hooks.secrets import open_secret, seal_secret

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="


def test_a_secret_opens_with_the_token_of_its_url() -> None:
    sealed = seal_secret(SECRET, "token", "hook")

    assert open_secret(sealed, "token", "hook") == SECRET
    assert SECRET.encode() not in sealed
    assert sealed != seal_secret(SECRET, "token", "hook")


@pytest.mark.parametrize(("token", "hook_id"), [("other", "hook"), ("token", "other"), ("", "")])
def test_a_secret_does_not_open_with_another_token_or_for_another_hook(
    token: str, hook_id: str
) -> None:
    sealed = seal_secret(SECRET, "token", "hook")

    with pytest.raises(InvalidTag):
        open_secret(sealed, token, hook_id)


def test_a_changed_secret_does_not_open() -> None:
    sealed = bytearray(seal_secret(SECRET, "token", "hook"))
    sealed[-1] ^= 1

    with pytest.raises(InvalidTag):
        open_secret(bytes(sealed), "token", "hook")
