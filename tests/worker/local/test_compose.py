"""``wharf secrets``: what compose.yaml asks for is there, guarded, and stays what it was."""

import re
from pathlib import Path

import bcrypt
import pytest
import yaml

from shared.errors import SetupError
from shared.vault import KeyRing, PublicKey, SealContext
from worker.local.compose import write_secrets
from worker.local.directory import PrivateDirectory
from worker.local.tls.authority import Authority

COMPOSE = (Path(__file__).parents[3] / "compose.yaml").read_text()
CONTEXT = SealContext("credential", "organization", "registry", "host", "user")
NOT_MOUNTED = {"lock", "passwords.json", "registry.password"}


def read(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_the_files_are_those_that_compose_asks_for(tmp_path: Path) -> None:
    requested = set(re.findall(r"file: \$\{WHARF_SECRETS:-./.data/secrets\}/(\S+)", COMPOSE))

    write_secrets(tmp_path / "secrets")

    assert set(read(tmp_path / "secrets")) == requested | NOT_MOUNTED


def test_a_service_gets_no_secret_that_it_does_not_name(tmp_path: Path) -> None:
    named = set(re.findall(r"/run/secrets/([\w.]+)", COMPOSE)) | {"owner.sql", "ca.key"}
    services = COMPOSE.partition("\nvolumes:\n")[0]
    given = set(re.findall(r"source: (\S+)", services))
    for names in re.findall(r"secrets: \[(.*)\]", services):
        given |= set(names.split(", "))
    given |= set(re.findall(r"secrets:\n +- (\S+)\n", services))

    assert given == named


def test_nobody_else_gets_to_the_files_and_a_container_can_read_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"

    write_secrets(directory)

    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert modes.pop("passwords.json") == modes.pop("lock") == 0o600
    assert set(modes.values()) == {0o644}


def test_a_second_call_keeps_what_was_drawn(tmp_path: Path) -> None:
    write_secrets(tmp_path)
    (tmp_path / "join.token").write_text("wharf_join_of_an_operator")
    before = read(tmp_path)

    write_secrets(tmp_path)

    after = read(tmp_path)
    changed = {name for name, text in after.items() if text != before[name]}
    assert changed == {"registry.htpasswd"}


def test_the_keys_fit_one_another_also_while_one_is_rotated(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    write_secrets(ours)
    write_secrets(other)
    older, newer = read(ours)["vault.private"], read(other)["vault.private"]
    (ours / "vault.private").write_text(f"{newer} {older}")

    write_secrets(ours)

    sealed = PublicKey.parse(read(ours)["vault.public"]).seal("secret", CONTEXT)
    assert KeyRing.parse(newer).open(sealed, CONTEXT) == "secret"


def test_the_pin_is_that_of_the_ca_which_is_kept(tmp_path: Path) -> None:
    write_secrets(tmp_path)

    authority = Authority.open(tmp_path)

    assert read(tmp_path)["ca.sha256"] == authority.fingerprint


def test_what_is_published_has_tls_and_only_one_service_has_the_key_of_the_ca() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    holders = {name for name, one in services.items() if "ca.key" in one.get("secrets", ())}

    assert published.pop("registry") == ["127.0.0.1:5000:5000"]
    assert set(published) == {"api", "tls"}
    assert holders == {"tls"}


def test_the_registry_takes_its_password(tmp_path: Path) -> None:
    write_secrets(tmp_path)

    files = read(tmp_path)
    user, _, proof = files["registry.htpasswd"].strip().partition(":")
    assert user == "wharf"
    assert bcrypt.checkpw(files["registry.password"].encode(), proof.encode())


def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    directory = PrivateDirectory.open(tmp_path)
    try:
        with pytest.raises(SetupError, match="in use"):
            write_secrets(tmp_path)
    finally:
        directory.close()

    assert set(read(tmp_path)) == {"lock"}
