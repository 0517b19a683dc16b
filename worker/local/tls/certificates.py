"""The certificates that the CA issued: each is renewed after two thirds of its life."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from pydantic import Field

from shared.errors import SetupError
from shared.networks import is_address
from shared.settings import Settings
from worker.files import write_atomically
from worker.local.tls.authority import BACKDATED, Authority

LIFE = timedelta(days=90)
MIN_LIFE_SECONDS = 3


class AuthoritySettings(Settings):
    """How long each certificate that the internal CA issues is valid."""

    certificate_seconds: int = Field(default=int(LIFE.total_seconds()), ge=MIN_LIFE_SECONDS)

    @property
    def life(self) -> timedelta:
        return timedelta(seconds=self.certificate_seconds)


@dataclass(frozen=True)
class Certificates:
    """The certificates of one installation, ``DIRECTORY/NAME.pem`` each with its key.

    All are for the same ``hosts``: names or addresses at which clients reach them.
    """

    directory: Path
    hosts: tuple[str, ...]
    names: tuple[str, ...]
    life: timedelta = LIFE

    def path(self, name: str) -> Path:
        """Return the file of one certificate and its key."""
        return self.directory / f"{name}.pem"

    def renew(self, authority: Authority, now: datetime | None = None) -> list[str]:
        """Issue what is missing, is due or is for other hosts; return the names.

        Raises:
            SetupError: a file cannot be written.
        """
        due = [name for name in self.names if self._is_due(name, authority, now)]
        for name in due:
            issue_to(self.path(name), authority, self.hosts, self.life, now)
        return due

    def _is_due(self, name: str, authority: Authority, now: datetime | None) -> bool:
        try:
            found = x509.load_pem_x509_certificate(self.path(name).read_bytes())
            found.verify_directly_issued_by(authority.certificate)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return True
        if hosts_of(found) != {_in_one_form(host) for host in self.hosts}:
            return True
        begin, end = found.not_valid_before_utc + BACKDATED, found.not_valid_after_utc
        # A life that was shortened counts at once.
        life = min(end - begin, self.life)
        return (now or datetime.now(UTC)) >= begin + life * 2 / 3


def issue_to(
    path: Path,
    authority: Authority,
    hosts: Sequence[str],
    life: timedelta,
    now: datetime | None = None,
) -> None:
    """Issue a certificate and write it with its key to one file, atomically.

    Raises:
        SetupError: the file cannot be written, or ``hosts`` are no names of a server.
    """
    text = authority.issue(hosts, life, now)
    try:
        write_atomically(path, text)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error


def hosts_of(certificate: x509.Certificate) -> set[str]:
    """Return the host names and addresses that a certificate is for."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def _in_one_form(host: str) -> str:
    return str(ip_address(host)) if is_address(host) else host
