"""Every command explains itself, and takes no secret where others can see it."""

import re
from typing import Any

import pytest

from tests.api.cli.registered import leaves

SECRET = re.compile("password|secret|token|credential|(?<!idempotency.)key", re.IGNORECASE)
NO_SECRETS = {
    ("key remove", "key"): "the name or id of a key",
    ("host-key", "keys"): "public keys of a host",
    ("audit verify", "public_key"): "the file of a public key",
    ("signing-key create", "public_key"): "the file of a public key",
    **dict.fromkeys(
        (
            *(("signing-key show", "signing_key"), ("signing-key retire", "signing_key")),
            *(("signing-key remove", "signing_key"), ("policy set", "signing_key")),
            *(("image sign", "signing_key"), ("image verify", "signing_key")),
        ),
        "the name or id of a key",
    ),
}
NAMES = [name for name, _ in leaves()]


def command_named(name: str) -> Any:
    return dict(leaves())[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_a_help_text_with_an_example_of_itself(name: str) -> None:
    command = command_named(name)
    words = rf"wharf {name.replace('server add', 'server (?:add|create)')}\b"

    assert command.help.strip().endswith((".", ":", "."))
    assert re.match("Example: ", command.epilog or ""), name
    assert re.search(words, command.epilog), name


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_or_option_of_a_command_has_a_help_text(name: str) -> None:
    silent = [one.name for one in command_named(name).params if one.name != "help" and not one.help]

    assert not silent


@pytest.mark.parametrize("name", NAMES)
def test_no_argument_or_option_takes_a_secret_by_its_value(name: str) -> None:
    for one in command_named(name).params:
        takes_text = not getattr(one, "is_flag", False) and not one.name.endswith("file")
        is_key_of_request = one.name == "key" and "Idempotency-Key" in (one.help or "")
        if takes_text and SECRET.search(one.name) and not is_key_of_request:
            assert (name, one.name) in NO_SECRETS, f"{name} {one.name}"
