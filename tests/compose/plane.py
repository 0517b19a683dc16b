"""The product as compose.yaml runs it, seen from outside: its API and its Flower."""

import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from cryptography import x509

from shared.tls import tls_context
from tests.compose.docker import Project
from worker.local.engines import LocalEngine
from worker.local.tls.certificates import hosts_of

FINAL = {"succeeded", "failed", "cancelled", "expired"}
Document = dict[str, Any]


@dataclass(frozen=True)
class Plane:
    """The stack that was started; ``address`` is where its ports are published, with TLS."""

    project: Project
    engine: LocalEngine
    address: str
    secrets: Path

    @property
    def registry(self) -> str:
        """Return the address of the registry to try it with, which only its own host reaches."""
        return "127.0.0.1:5000"

    @property
    def trust(self) -> ssl.SSLContext:
        """Return the context that trusts the internal CA alone."""
        return tls_context(self.secrets / "ca.pem")

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def call(self, procedure: str, **body: object) -> Any:
        answer = httpx2.post(
            f"https://{self.address}:4747/api/trpc/{procedure}",
            json=body,
            headers={"x-api-key": self.secret("admin.key")},
            timeout=60,
            verify=self.trust,
        )
        assert answer.is_success, answer.text
        return answer.json()

    def run(self, kind: str, **body: object) -> Document:
        """Ask for a job and wait for its end."""
        job_id = self.call(kind, **body)["jobId"]
        jobs: list[Document] = []

        def ended() -> bool:
            jobs.append(self.call("job.one", jobId=job_id))
            return jobs[-1]["state"] in FINAL

        wait_for(ended, lambda: jobs[-1])
        return jobs[-1]

    def published_ports(self) -> set[tuple[str, int]]:
        """Return address and port of every port of a container that others may reach."""
        containers = self.project.containers().values()
        states = json.loads(self.project.docker("inspect", *containers))
        bound = [
            port
            for state in states
            for ports in (state["NetworkSettings"]["Ports"] or {}).values()
            for port in ports or ()
        ]
        return {(port["HostIp"], int(port["HostPort"])) for port in bound}

    def hosts_at(self, port: int) -> set[str]:
        """Return the hosts of a port's certificate, once it is verified by the internal CA.

        Raises:
            OSError: it has no TLS, or another certificate.
        """
        with (
            socket.create_connection((self.address, port), timeout=10) as plain,
            self.trust.wrap_socket(plain, server_hostname=self.address) as encrypted,
        ):
            shown = encrypted.getpeercert(binary_form=True)
        return hosts_of(x509.load_der_x509_certificate(shown or b""))

    def tasks(self) -> list[Document]:
        """Return what Flower shows to a user who is logged in."""
        user, _, password = self.secret("flower.login").partition(":")
        answer = self.get_from_flower((user, password))
        return list(answer.raise_for_status().json().values())

    def get_from_flower(self, login: tuple[str, str] | None) -> httpx2.Response:
        url = f"https://{self.address}:5555/api/tasks"
        return httpx2.get(url, auth=login, verify=self.trust)


def wait_for(
    condition: Callable[[], bool], describe: Callable[[], object], seconds: float = 240
) -> None:
    """Return once it holds; fail with what ``describe`` returns when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, describe()
        time.sleep(0.2)
