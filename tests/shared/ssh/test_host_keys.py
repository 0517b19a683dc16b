"""Host keys are given as fingerprints or lines of known_hosts, and are for one host only."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.errors import InvalidInputError
from shared.ssh.address import SshAddress
from shared.ssh.host_keys import parse_host_keys
from shared.ssh.keys import DeployKey, show_fingerprint

HOST = SshAddress.parse("ssh://git@git.example:2222/a")
KEY = DeployKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
PUBLIC = KEY.public_line
FINGERPRINT = show_fingerprint(KEY.blob)


@pytest.mark.parametrize(
    "text",
    [
        FINGERPRINT,
        f"256 {FINGERPRINT} root@git (ED25519)",
        PUBLIC,
        f"# git.example:2222 SSH-2.0-OpenSSH\n\n[git.example]:2222 {PUBLIC}\n",
        f"[other.example]:2222,[*.example]:2222 {PUBLIC}",
        f"[git.example]:2222 {PUBLIC}\n{FINGERPRINT}=",
    ],
)
def test_each_form_gives_the_fingerprint(text: str) -> None:
    assert parse_host_keys(text, HOST) == (FINGERPRINT,)


def test_a_hashed_line_is_for_its_host_only(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[git.example]:2222 {PUBLIC}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)

    assert parse_host_keys(file.read_text(), HOST) == (FINGERPRINT,)
    with pytest.raises(InvalidInputError):
        parse_host_keys(file.read_text(), SshAddress.parse("git@git.example:a"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "SHA256:short",
        "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
        f"git.example {PUBLIC}",
        f"![git.example]:2222,* {PUBLIC}",
        f"@cert-authority * {PUBLIC}",
        f"|1|bad|hash {PUBLIC}",
        f"[git.example]:2222 ssh-rsa {PUBLIC.split()[1]}",
        "[git.example]:2222 ssh-ed25519 AAAA",
        f"{FINGERPRINT}\nnonsense",
    ],
)
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_host_keys(text, HOST)

    assert caught.value.remedy
