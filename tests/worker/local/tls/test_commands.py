"""``wharf ca`` as processes: made, shown, issued, served and renewed."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from shared.tls import fingerprint_of
from worker.local.processes import free_port

HOST = "127.0.0.1"


def wharf_ca(*words: str) -> str:
    return subprocess.run(
        (sys.executable, "-m", "api.cli.main", "ca", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    ).stdout


def serial_at(port: int, authority: Path) -> str | None:
    """Return the number of the certificate that is shown; ``None`` if nobody listens yet."""
    try:
        context = ssl.create_default_context(cafile=authority)
        with (
            socket.create_connection((HOST, port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as encrypted,
        ):
            return str((encrypted.getpeercert() or {})["serialNumber"])
    except (FileNotFoundError, ConnectionError, ssl.SSLZeroReturnError):
        return None


def test_a_ca_is_created_shown_and_issues_certificates(tmp_path: Path) -> None:
    directory = tmp_path / "ca"

    created = wharf_ca("create", str(directory))
    issued = wharf_ca("issue", str(directory), "api", "--host", "10.0.0.5", "--host", "wharf")
    shown = wharf_ca("show", str(directory))

    pin = fingerprint_of((directory / "ca.pem").read_text())
    assert created == f"WHARF_CA_SHA256={pin}\n"
    assert issued == f"{directory}/api.pem\n"
    assert created in shown and "ca.pem: the CA: valid until" in shown
    assert re.search(r"api.pem: 10.0.0.5, wharf: valid until \d{4}-", shown)


def test_served_certificates_renew_themselves_and_a_stop_is_clean(tmp_path: Path) -> None:
    directory, certificates, port = tmp_path / "ca", tmp_path / "certificates", free_port()
    certificates.mkdir()
    # Nobody listens behind the relay: the handshake alone shows the certificate.
    pair = f"{HOST}:{port}={HOST}:1"
    words = ("serve", str(directory), "--host", HOST, "--host", HOST, "--flower", pair)
    others = [f"{HOST}:{free_port()}={HOST}:1" for _ in range(2)]
    process = subprocess.Popen(
        (
            *(sys.executable, "-m", "api.cli.main", "ca", *words),
            *("--certificates", str(certificates)),
            *("--database", others[0], "--broker", others[1]),
        ),
        env={**os.environ, "WHARF_CERTIFICATE_SECONDS": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seen: set[str] = set()
    until = time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < until and process.poll() is None:
        seen |= {serial for serial in [serial_at(port, directory / "ca.pem")] if serial}
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)

    assert len(seen) == 3, output
    assert process.returncode == 0
    assert "Traceback" not in output
    assert {one.name for one in directory.iterdir()} == {"ca.key", "ca.pem"}
    assert {one.name for one in certificates.iterdir()} == {
        *("api.pem", "broker.pem", "database.pem", "flower.pem")
    }
