"""The CA's files and pin, and the certificates that it issues and renews."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from shared.errors import SetupError
from worker.local.tls.authority import Authority
from worker.local.tls.certificates import Certificates, hosts_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LIFE = timedelta(seconds=90)
HOSTS = ("wharf.example.com", "10.0.0.5", "fd00::5")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca") / "ca")


def test_a_ca_is_made_once_and_found_again(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "ca")

    found = Authority.open(tmp_path / "ca")
    with pytest.raises(SetupError, match="has a CA already"):
        Authority.create(tmp_path / "ca")

    assert found.fingerprint == made.fingerprint
    assert len(bytes.fromhex(made.fingerprint)) == 32
    assert (tmp_path / "ca" / "ca.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["ca.key", "ca.pem"])
def test_an_unusable_file_of_a_ca_is_named_and_not_shown(tmp_path: Path, name: str) -> None:
    Authority.create(tmp_path)
    (tmp_path / name).write_text("what nobody may see")

    with pytest.raises(SetupError) as caught:
        Authority.open(tmp_path)

    assert "what nobody" not in caught.value.message


def test_the_key_of_another_ca_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        Authority.create(tmp_path / name)
    (tmp_path / "one" / "ca.key").write_bytes((tmp_path / "two" / "ca.key").read_bytes())

    with pytest.raises(SetupError, match="is not the key of"):
        Authority.open(tmp_path / "one")


def test_a_certificate_is_for_its_names_and_addresses_only(authority: Authority) -> None:
    issued = x509.load_pem_x509_certificate(authority.issue(HOSTS, LIFE, NOW).encode())

    assert hosts_of(issued) == set(HOSTS)
    assert issued.not_valid_after_utc == NOW + LIFE
    issued.verify_directly_issued_by(authority.certificate)


@pytest.mark.parametrize("names", [(), ("bücher.example",)])
def test_a_certificate_for_no_host_is_refused(authority: Authority, names: tuple[str, ...]) -> None:
    with pytest.raises(SetupError):
        authority.issue(names, LIFE)


def test_certificates_are_renewed_after_two_thirds_of_their_life(
    authority: Authority, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path, HOSTS, ("api", "broker"), LIFE)

    assert certificates.renew(authority, NOW) == ["api", "broker"]
    assert certificates.renew(authority, NOW + timedelta(seconds=59)) == []
    assert certificates.renew(authority, NOW + timedelta(seconds=60)) == ["api", "broker"]
    context = ssl.create_default_context()
    context.load_cert_chain(certificates.path("api"))
    assert certificates.path("api").stat().st_mode & 0o777 == 0o600


def test_another_host_another_ca_or_a_broken_file_needs_a_new_certificate(
    authority: Authority, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path / "certificates", HOSTS, ("api",), LIFE)
    certificates.directory.mkdir()
    moved = Certificates(certificates.directory, ("10.0.0.6",), ("api",), LIFE)

    assert certificates.renew(authority, NOW) == ["api"]
    assert moved.renew(authority, NOW) == ["api"]
    assert moved.renew(Authority.create(tmp_path / "other"), NOW) == ["api"]
    moved.path("api").write_text("cut off")
    assert moved.renew(authority, NOW) == ["api"]
