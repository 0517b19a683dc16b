"""Fixtures for the tests of registry traffic."""

import base64
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import SecretStr

from shared.jobs.diagnosis import Outcome, ProbeReport, Stage, StageResult
from shared.networks import parse_networks
from shared.reference import parse_registry
from tests.fakes.names import Names
from tests.fakes.token_server import ISSUER, SERVICE, TokenServer
from worker.local.registry import LocalRegistry, TokenRealm
from worker.login import Login
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.address import Resolver
from worker.oci.transport.settings import ConnectionSettings, Deadlines
from worker.registry_tls import RegistryTls

ROUNDS = 4
ALLOWED = RegistryTls(plain_http=True)
"""With the permission for plain HTTP."""

API = {"Docker-Distribution-Api-Version": "registry/2.0"}
"""The header by which most registries show themselves."""

PASSWORDS = {"alice": "correct-horse-77", "bob": "reads-only-88", "carol": "nothing-at-all-99"}


@dataclass
class RegistryFactory:
    """A factory of registries, each with a directory of its own."""

    directory: Path
    started: list[LocalRegistry] = field(default_factory=list)

    def start(
        self,
        *,
        certificate: tuple[Path, Path] | None = None,
        token_realm: TokenRealm | None = None,
        deletes: bool = True,
    ) -> LocalRegistry:
        """Start a registry with htpasswd for everybody in `PASSWORDS`, or with a token server."""
        registry = LocalRegistry.start(
            self.directory / str(len(self.started)),
            users=PASSWORDS,
            certificate=certificate,
            token_realm=token_realm,
            bcrypt_rounds=ROUNDS,
            deletes=deletes,
        )
        self.started.append(registry)
        return registry

    def start_with_tokens(self, server: TokenServer) -> LocalRegistry:
        """Start a registry that is reached through its token server, at one origin."""
        self.directory.mkdir(parents=True, exist_ok=True)
        bundle = server.key.write(self.directory / "token-server.pem")
        realm = TokenRealm(server.realm, SERVICE, ISSUER, bundle)
        registry = self.start(token_realm=realm)
        server.registry = registry.host
        return replace(registry, address=server.fake.address, port=server.fake.port)

    def stop(self) -> None:
        for registry in self.started:
            registry.stop()


def make_settings(
    *,
    networks: str = "loopback",
    insecure: frozenset[str] = frozenset(),
    tls: RegistryTls = ALLOWED,
    certificates: Path = Path("/nonexistent"),
    resolver: Resolver | None = None,
    deadlines: Deadlines | None = None,
) -> ConnectionSettings:
    """Allow loopback, resolve no names, and leave out the machine's own certificates.d."""
    return ConnectionSettings(
        networks=parse_networks(networks),
        insecure=insecure,
        certificates=certificates,
        tls=tls,
        resolver=resolver or Names(),
        deadlines=deadlines or Deadlines(),
    )


def make_login(
    host: str, username: str = "alice", secret: str | None = None, *, tls: RegistryTls = ALLOWED
) -> Login:
    """Make a login, by default with the right password, and plain HTTP allowed."""
    chosen = PASSWORDS[username] if secret is None else secret
    return Login(host=host, username=username, secret=SecretStr(chosen), tls=tls)


def basic(username: str = "alice") -> dict[str, str]:
    """Return the header of a login by Basic."""
    pair = f"{username}:{PASSWORDS[username]}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def open_client(
    host: str, settings: ConnectionSettings, login: Login | None = None
) -> RegistryClient:
    return RegistryClient(parse_registry(host), login, settings)


def stage(report: ProbeReport, expected: Stage) -> StageResult:
    return next(result for result in report.stages if result.stage is expected)


def outcomes(report: ProbeReport) -> dict[Stage, Outcome]:
    return {result.stage: result.outcome for result in report.stages}
