"""Deploy keys are parsed, and those that cannot be used are refused without a word of them."""

import subprocess
from pathlib import Path

import pytest

from shared.errors import InvalidInputError
from shared.ssh.keys import DeployKey, show_fingerprint


def make_key(directory: Path, *options: str) -> str:
    file = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", file, *options], check=True)
    return file.read_text()


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ed25519"),
        ("-t", "ecdsa", "-b", "384"),
        ("-t", "rsa", "-b", "2048"),
        ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    ],
)
def test_a_key_of_ssh_keygen_has_the_public_key_and_fingerprint_that_it_shows(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    text = make_key(tmp_path, "-N", "", *options)
    shown = subprocess.check_output(["ssh-keygen", "-lf", tmp_path / "key.pub"]).decode()

    key = DeployKey.parse(text.replace("\n", "\r\n"))

    assert key.public_line.split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]
    assert show_fingerprint(key.blob) == shown.split()[1]
    assert DeployKey.parse(key.to_text()).public_line == key.public_line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-t", "ed25519", "-N", "hush-hush"), "passphrase"),
        (("-t", "rsa", "-m", "PEM", "-N", "hush-hush"), "passphrase"),
        (("-t", "rsa", "-b", "1024", "-N", ""), "1024 bits"),
    ],
)
def test_a_key_that_no_build_can_use_is_refused(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    text = make_key(tmp_path, *options)

    with pytest.raises(InvalidInputError) as caught:
        DeployKey.parse(text)

    assert reason in caught.value.message
    assert caught.value.remedy
    assert text.splitlines()[1] not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize("text", ["", "hush", "-----BEGIN OPENSSH PRIVATE KEY-----\nhush\n"])
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DeployKey.parse(text)

    assert "hush" not in caught.value.message
    assert repr(DeployKey.generate()) == "DeployKey()"
