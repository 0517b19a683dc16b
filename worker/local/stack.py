"""The whole product on one machine, as children: what `wharf up`, `wharf demo` and the tests start.

```text
DIRECTORY/           0700
  postgres/ valkey/  the embedded servers, where no URL of an own one is given
  keys/              vault and admin key, Flower's password, 0600
  tls/               the internal CA and its certificates, if all published ports have TLS
  contexts/          what was uploaded to be built from
  servers/NAME/      the state directory of each server worker that was started here
  logs/              what each process printed
```
"""

import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx2

from shared.errors import SetupError
from shared.tls import tls_context
from shared.vault import PrivateKey, parse_private_keys
from worker.broker_users import ADMIN
from worker.local.directory import PrivateDirectory
from worker.local.postgres import OWNER, LocalPostgres
from worker.local.processes import Child, free_port, is_listening
from worker.local.tls.published import LOOPBACK, Published
from worker.local.valkey import LocalValkey

START = timedelta(seconds=60)
ASK_EVERY = timedelta(milliseconds=200)
"""How often the API is asked whether a server is there: it limits how often a key may ask."""

STOP = timedelta(seconds=8)
NETWORKS_ON_ONE_MACHINE = "public,private,loopback"
DRAIN_SECONDS = 4
"""All of it has to be gone within ten seconds of Ctrl-C; running jobs are handed back."""


@dataclass(frozen=True)
class Outside:
    """The URLs of a PostgreSQL and a broker that are not embedded."""

    database_url: str | None = None
    server_database_url: str | None = None
    broker_url: str | None = None
    broker_admin_url: str | None = None
    server_broker_url: str | None = None


@dataclass
class Stack:
    """Started processes; `stop` ends them all, in reverse order."""

    directory: PrivateDirectory
    address: str
    port: int
    outside: Outside = field(default_factory=Outside)
    children: dict[str, Child] = field(default_factory=dict)
    rate_per_minute: int = 0
    specs: dict[str, Callable[[], Child]] = field(default_factory=dict)
    postgres: LocalPostgres | None = None
    valkey: LocalValkey | None = None
    given_key: str | None = None
    flower_port: int | None = None
    tls_life: timedelta | None = None
    published: Published | None = None

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        port: int | None = None,
        outside: Outside | None = None,
        durable: bool = True,
        rate_per_minute: int = 0,
        admin_key: str | None = None,
        flower_port: int | None = None,
        tls_life: timedelta | None = None,
    ) -> Self:
        """Start databases, schema, API and control, and wait until they are ready.

        ``address`` is where servers reach them; ``port`` is the API's (a free one by default).
        ``rate_per_minute`` is how often a key may ask the API; 0 is any number of times.
        ``admin_key`` is the admin key of the first start; one is made by default.
        ``flower_port`` is where `start_flower` is going to serve; jobs link to it.
        With ``tls_life`` only TLS is spoken at ``address``, with certificates of that life.

        Raises:
            SetupError: a port is taken, a directory is in use, or a process does not come up.
        """
        wanted = port or free_port(address)
        if is_listening(address, wanted):
            raise SetupError(
                f"port {wanted} on {address} is taken", remedy="Choose another with --port."
            )
        stack = cls(
            PrivateDirectory.open(directory),
            address,
            wanted,
            outside or Outside(),
            rate_per_minute=rate_per_minute,
            given_key=admin_key,
            flower_port=flower_port,
            tls_life=tls_life,
        )
        if admin_key is not None and stack.admin_key != admin_key:
            raise SetupError(
                f"WHARF_ADMIN_KEY is not the admin key with which {directory} was first started",
                remedy="Unset it, or make another key with apiKey.create.",
            )
        try:
            stack._start_databases(durable=durable)
            stack._start_tls()
            stack._start_control_plane()
        except BaseException:
            stack.stop()
            raise
        return stack

    @property
    def url(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if self.tls_life else 'http'}://{host}:{self.port}"

    @property
    def ca_file(self) -> Path | None:
        """Return the file of the internal CA; ``None`` without TLS."""
        return self.published.ca_file if self.published else None

    @property
    def _inner_address(self) -> str:
        """Return where servers without TLS listen."""
        return LOOPBACK if self.tls_life else self.address

    @property
    def admin_key(self) -> str:
        made = self.given_key or "wharf_" + secrets.token_urlsafe(32)
        return self._key("admin.key", lambda: made)

    def _vault_private_key(self) -> Path:
        """Return the file of the vault's private keys, the current one first."""
        self._key("vault.key", lambda: PrivateKey.generate().text())
        return self.directory.path / "keys" / "vault.key"

    def _vault_public_key(self) -> Path:
        """Write the file of the vault's current public key."""
        current = parse_private_keys(self._vault_private_key().read_text())[0]
        return self.directory.write("keys/vault.public", str(current.public))

    def call(self, procedure: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call a procedure with the admin key, and return its answer.

        Raises:
            SetupError: it refused; with its message.
        """
        answer = httpx2.post(
            f"{self.url}/api/trpc/{procedure}",
            json=dict(body or {}),
            headers={"x-api-key": self.admin_key},
            timeout=60,
            verify=tls_context(self.ca_file),
        )
        if answer.is_error:
            own = self.children["api"].last_words(30) if answer.is_server_error else ""
            message, remedy = _read_error(answer)
            raise SetupError(f"{procedure}: {message} {own}".strip(), remedy=remedy)
        return answer.json()

    def add_server(
        self,
        name: str,
        docker_host: str,
        *,
        wrapper: tuple[str, ...] = (),
        host_paths: str = "",
    ) -> "LocalServer":
        """Start the worker of a server, enrolled at its first start; returns once it takes jobs."""
        state = self.directory.path / "servers" / name
        env = {
            "DOCKER_HOST": docker_host,
            "WHARF_STATE_DIR": str(state),
            "WHARF_REGISTRY_NETWORKS": NETWORKS_ON_ONE_MACHINE,
            "WHARF_DRAIN_SECONDS": str(DRAIN_SECONDS),
            "WHARF_URL": self.url,
            "WHARF_HOST_PATHS": host_paths,
        }
        server = self._known_server(name, state) or self.call("server.create", {"name": name})
        if self.published is not None:
            env["WHARF_CA_SHA256"] = self.published.pin
        if self._server_broker_url() is None:
            env["WHARF_BROKER_URL"] = self._broker_url("")
        if "joinToken" in server:
            env["WHARF_JOIN_TOKEN"] = server["joinToken"]
        local = LocalServer(self, name, server["serverId"])
        self.run(name, ("-m", "worker.server"), env, wrapper=wrapper)
        self.children[name].wait_until(lambda: local.is_ready, deadline=START, every=ASK_EVERY)
        return local

    def remove_server(self, server: "LocalServer") -> None:
        """Take a server's rights away and end its worker; `revive` knows it no more."""
        self.call("server.remove", {"serverId": server.server_id})
        del self.specs[server.name]
        self.children.pop(server.name).stop()

    @property
    def flower_url(self) -> str:
        """Return the URL of Flower; empty if it has no port yet."""
        return f"http://{self._inner_address}:{self.flower_port}" if self.flower_port else ""

    def start_flower(self) -> str:
        """Start Flower behind a login; gives its URL."""
        address = self._inner_address
        self.flower_port = port = self.flower_port or free_port(address)
        password = self._key("flower.password", lambda: secrets.token_urlsafe(16))
        env = {
            "CELERY_BROKER_URL": self._broker_url("flower"),
            "FLOWER_BASIC_AUTH": f"admin:{password}",
            "FLOWER_READ_ONLY": "True",
            "FLOWER_MAX_TASKS": "5000",
        }
        command = ("-m", "celery", "flower", f"--address={address}", f"--port={port}")
        self.run("flower", command, env)
        self.children["flower"].wait_until(lambda: is_listening(address, port), deadline=START)
        return self.flower_url

    def run(
        self,
        name: str,
        python: tuple[str, ...],
        env: Mapping[str, str],
        *,
        wrapper: tuple[str, ...] = (),
    ) -> Child:
        """Start one Python process of ours, in place of one of that name; `revive` repeats it."""
        log = self.directory.path / "logs" / f"{name}.log"

        def start() -> Child:
            argv = (sys.executable, *python)
            return Child.start(name, argv, log=log, env=env, without="WHARF_", wrapper=wrapper)

        if name in self.children:
            self.children[name].stop()
        self.specs[name] = start
        self.children[name] = start()
        return self.children[name]

    def revive(self) -> list[str]:
        """Start again what has ended by itself; gives the names."""
        ended = [name for name, child in self.children.items() if not child.is_alive]
        for name in ended:
            self.children[name] = self.specs[name]()
        return ended

    def require_databases(self) -> None:
        """Check that the embedded PostgreSQL and Valkey still run.

        Raises:
            SetupError: one of them ended by itself; `revive` does not start it again.
        """
        for database in (self.postgres, self.valkey):
            if database is not None and not database.child.is_alive:
                child = database.child
                raise SetupError(f"{child.name} ended by itself; see {child.log}")

    def stop(self) -> None:
        """Ask all processes at once to end, wait, then stop the databases."""
        for child in self.children.values():
            child.ask_to_stop()
        until = time.monotonic() + STOP.total_seconds()
        for child in reversed(list(self.children.values())):
            child.stop(timedelta(seconds=max(until - time.monotonic(), 0.1)))
        for database in (self.valkey, self.postgres):
            if database is not None:
                database.stop()
        self.directory.close()

    def _known_server(self, name: str, state: Path) -> dict[str, Any] | None:
        """The server of an earlier start; one that never finished joining is taken away.

        So is one that joined before servers had passwords of their own for the broker.
        The id that the worker keeps counts: a server may have another name by now.
        """
        enrolled = _enrolled_id(state)
        field, wanted = ("name", name) if enrolled is None else ("serverId", enrolled)
        servers = {server[field]: server for server in self.call("server.all")}
        server: dict[str, Any] | None = servers.get(wanted)
        has_joined = enrolled is not None and (state / "broker.password").exists()
        if server is not None and not has_joined:
            self.call("server.remove", {"serverId": server["serverId"]})
            shutil.rmtree(state, ignore_errors=True)
            return None
        return server

    def _start_databases(self, *, durable: bool) -> None:
        path = self.directory.path
        if self.outside.database_url is None:
            port = self._kept_port("postgres")
            self.postgres = LocalPostgres.start(
                path / "postgres", listen=self._inner_address, port=port, durable=durable
            )
            self._keep_port("postgres", self.postgres.port)
        if self.outside.broker_url is None:
            port = self._kept_port("valkey")
            self.valkey = LocalValkey.start(path / "valkey", listen=self._inner_address, port=port)
            self._keep_port("valkey", self.valkey.port)

    def _start_tls(self) -> None:
        """Make the CA and its certificates, and publish the databases by TLS."""
        if self.tls_life is None:
            return
        self.published = published = Published(
            self.directory.path / "tls",
            self.address,
            (self._published_port("database"), self.postgres.port) if self.postgres else None,
            (self._published_port("broker"), self.valkey.port) if self.valkey else None,
            self.tls_life,
        )
        child = self.run("tls", published.command, published.environment)
        child.wait_until(self._is_published, deadline=START)

    def _is_published(self) -> bool:
        published = self.published
        return (
            published is not None
            and published.api_certificate.exists()
            and all(is_listening(self.address, port) for port in published.ports)
        )

    def _published_port(self, name: str) -> int:
        port = self._kept_port(f"{name}-tls") or free_port(self.address)
        self._keep_port(f"{name}-tls", port)
        return port

    def _kept_port(self, name: str) -> int | None:
        """Return the port of the last start: enrolled servers know it."""
        kept = self.directory.path / f"{name}.port"
        return int(kept.read_text()) if kept.exists() else None

    def _keep_port(self, name: str, port: int) -> None:
        self.directory.write(f"{name}.port", str(port))

    def _start_control_plane(self) -> None:
        migration = self.run(
            "migrate", ("-m", "shared.migrations"), {"WHARF_DATABASE_URL": self._url(OWNER)}
        )
        if migration.process.wait(START.total_seconds()) != 0:
            raise SetupError(f"the database cannot be migrated: {migration.last_words()}")
        del self.children["migrate"]
        self.run(
            "api",
            ("-m", "api", "--host", self.address, "--port", str(self.port)),
            {
                "WHARF_DATABASE_URL": self._url("wharf_api"),
                "WHARF_VAULT_PUBLIC_KEY_FILE": str(self._vault_public_key()),
                "WHARF_ADMIN_KEY": self.admin_key,
                "WHARF_SERVER_DATABASE_URL": self._server_database_url(),
                "WHARF_SERVER_BROKER_URL": self._server_broker_url() or "",
                "WHARF_REGISTRY_NETWORKS": NETWORKS_ON_ONE_MACHINE,
                "WHARF_WEBHOOK_NETWORKS": NETWORKS_ON_ONE_MACHINE,
                "WHARF_BROKER_URL": self._broker_url("api"),
                "WHARF_API_RATE_PER_MINUTE": str(self.rate_per_minute),
                "WHARF_DATA_DIR": str(self.directory.path),
                "WHARF_FLOWER_URL": self.flower_url,
                **self._api_encryption(),
            },
        )
        self.start_control()
        self.children["api"].wait_until(self._is_ready, deadline=START)

    def _api_encryption(self) -> dict[str, str]:
        if self.published is None:
            # The networks of namespaces do not leave this machine.
            return {"WHARF_ALLOW_PLAIN_HTTP": "true"}
        certificate = str(self.published.api_certificate)
        return {
            "WHARF_TLS_CERTIFICATE": certificate,
            "WHARF_TLS_KEY": certificate,
            "WHARF_CA_CERTIFICATE": str(self.published.ca_file),
        }

    def start_control(self, name: str = "control", *, wrapper: tuple[str, ...] = ()) -> None:
        """Start a control process; more than one may run."""
        self.run(
            name,
            ("-m", "worker.control.main"),
            {
                "WHARF_DATABASE_URL": self._url("wharf_control"),
                "WHARF_BROKER_URL": self._broker_url("control"),
                "WHARF_BROKER_ADMIN_URL": self._broker_admin_url(),
                "WHARF_VAULT_PRIVATE_KEY_FILE": str(self._vault_private_key()),
                # Who starts a server here has this machine.
                "WHARF_AUTO_APPROVE": "true",
                "WHARF_REGISTRY_NETWORKS": NETWORKS_ON_ONE_MACHINE,
                "WHARF_WEBHOOK_NETWORKS": NETWORKS_ON_ONE_MACHINE,
            },
            wrapper=wrapper,
        )

    def _is_ready(self) -> bool:
        try:
            trust = tls_context(self.ca_file)
            return httpx2.get(f"{self.url}/readyz", timeout=5, verify=trust).is_success
        except httpx2.HTTPError:
            return False

    def _url(self, role: str) -> str:
        if self.postgres is not None:
            return self.postgres.url(role)
        return self.outside.database_url or ""

    def _server_database_url(self) -> str:
        if self.published is not None and self.published.database_url is not None:
            return self.published.database_url
        if self.postgres is not None:
            return self.postgres.network_url()
        return self.outside.server_database_url or ""

    def _broker_url(self, user: str) -> str:
        if self.valkey is not None:
            return self.valkey.url(user)
        return self.outside.broker_url or ""

    def _broker_admin_url(self) -> str:
        if self.valkey is not None:
            return self.valkey.url(ADMIN)
        return self.outside.broker_admin_url or ""

    def _server_broker_url(self) -> str | None:
        """Return the broker's address for servers; ``None`` if they have no users of their own."""
        if self.published is not None and self.published.broker_url is not None:
            return self.published.broker_url
        if self.valkey is not None:
            return self.valkey.network_url()
        return self.outside.server_broker_url if self.outside.broker_admin_url else None

    def _key(self, name: str, make: Callable[[], str]) -> str:
        keys = self.directory.path / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        path = keys / name
        if not path.exists():
            self.directory.write(f"keys/{name}", make())
        return path.read_text()


def _read_error(answer: httpx2.Response) -> tuple[str, str]:
    """Return message and remedy of an error of the API; any other answer is the message."""
    try:
        error = answer.json()
        cause = error["data"].get("cause") or error["data"]
        return f"{error['message']} ({cause['code']})", str(cause.get("remedy") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.text[:500], ""


@dataclass(frozen=True)
class LocalServer:
    """A server whose worker runs on this machine."""

    stack: Stack
    name: str
    server_id: str

    @property
    def is_online(self) -> bool:
        return bool(self._look()["online"])

    @property
    def is_ready(self) -> bool:
        """Return whether it is online and approved."""
        server = self._look()
        return bool(server["online"] and server["approvedAt"])

    @property
    def worker(self) -> Child:
        return self.stack.children[self.name]

    def _look(self) -> Any:
        return self.stack.call("server.one", {"serverId": self.server_id})


def _enrolled_id(state: Path) -> str | None:
    """Return the id that the server's worker stored when it joined."""
    try:
        server_id: str = json.loads((state / "server.json").read_text())["server_id"]
    except FileNotFoundError:
        return None
    return server_id
