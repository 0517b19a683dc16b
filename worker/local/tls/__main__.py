"""``wharf ca``: make the internal CA, issue its certificates, and keep them valid."""

import argparse
import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from shared.errors import SetupError, in_sentences
from shared.logs import configure_logs
from shared.settings import load
from shared.tls import fingerprint_of
from worker.local.tls.authority import CERTIFICATE, Authority
from worker.local.tls.certificates import AuthoritySettings, Certificates, hosts_of, issue_to
from worker.local.tls.relay import Address
from worker.local.tls.service import API, NEGOTIATIONS, Port, find_authority, serve


def main() -> None:
    arguments = _parse()
    try:
        life = load(AuthoritySettings, os.environ).life
        match arguments.command:
            case "create":
                print_pin(Authority.create(arguments.directory).fingerprint)
            case "show":
                show(arguments.directory)
            case "issue":
                issue(arguments.directory, arguments.name, arguments.host, life)
            case _:
                configure_logs("tls")
                run(arguments, life)
    except SetupError as error:
        sys.exit(f"wharf ca: {in_sentences(error.message, error.remedy)}")


def show(directory: Path) -> None:
    """Print the pin, and for each certificate of the directory its hosts and its end.

    Raises:
        SetupError: there is no CA.
    """
    own = directory / CERTIFICATE
    try:
        print_pin(fingerprint_of(own.read_text()))
    except (OSError, ValueError) as error:
        raise SetupError(
            f"{own} is not the certificate of a CA", remedy="Make one: wharf ca create DIRECTORY."
        ) from error
    for path in sorted(directory.glob("*.pem")):
        found = x509.load_pem_x509_certificate(path.read_bytes())
        hosts = "the CA" if path == own else ", ".join(sorted(hosts_of(found)))
        end = f"{found.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        sys.stdout.write(f"{path.name}: {hosts}: valid until {end}\n")


def issue(directory: Path, name: str, hosts: list[str], life: timedelta) -> None:
    """Issue one certificate to ``NAME.pem``.

    Raises:
        SetupError: the CA is not here, or the name or a host is not valid.
    """
    if name == CERTIFICATE.removesuffix(".pem") or not name.isidentifier():
        raise SetupError(f"{name} cannot be the name of a certificate")
    path = directory / f"{name}.pem"
    issue_to(path, Authority.open(directory), hosts, life)
    sys.stdout.write(f"{path}\n")


def run(arguments: argparse.Namespace, life: timedelta) -> None:
    """Serve until a signal.

    Raises:
        SetupError: as `serve`.
    """
    given = {name: getattr(arguments, name) for name in NEGOTIATIONS}
    ports = [Port(name, *pair) for name, pair in given.items() if pair is not None]
    directory = arguments.directory
    certificates = Certificates(
        arguments.certificates or directory,
        tuple(dict.fromkeys(arguments.host)),
        (API, *(port.name for port in ports)),
        life,
    )
    asyncio.run(serve(find_authority(directory), certificates, ports))


def print_pin(fingerprint: str) -> None:
    sys.stdout.write(f"WHARF_CA_SHA256={fingerprint}\n")


def _pair(text: str) -> tuple[Address, Address]:
    listen, _, target = text.partition("=")
    return Address.parse(listen), Address.parse(target)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wharf ca", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    parts = {name: commands.add_parser(name) for name in ("create", "show", "issue", "serve")}
    for part in parts.values():
        part.add_argument("directory", type=Path)
    parts["issue"].add_argument("name")
    for name in ("issue", "serve"):
        parts[name].add_argument("--host", action="append", required=True)
    parts["serve"].add_argument("--certificates", type=Path)
    for name in NEGOTIATIONS:
        parts["serve"].add_argument(f"--{name}", type=_pair)
    return parser.parse_args()


if __name__ == "__main__":
    main()
