"""``wharf up``: everything on this machine, in the foreground."""

import argparse
import asyncio
import errno
import os
import signal
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, SecretStr
from rich.console import Console

from shared.errors import EngineError, SetupError, in_sentences
from shared.networks import is_address
from shared.settings import Settings, load
from worker.engine.transport.connection import Engine
from worker.local.engines import require_right
from worker.local.processes import free_port
from worker.local.stack import Outside, Stack
from worker.local.tls.certificates import AuthoritySettings
from worker.local.tls.published import LOOPBACK

DEFAULT_DATA = Path("~/.local/share/wharfinger")
DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
SERVER_NAME = "this-machine"
LOOK_SECONDS = 1.0
RATE_PER_MINUTE = 600
MIN_KEY_CHARACTERS = 16


def main() -> None:
    arguments = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(arguments.data_dir.expanduser(), arguments.port, Console(), arguments.listen)
    except SetupError as error:
        sys.exit(f"wharf up: {in_sentences(error.message, error.remedy)}")
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        sys.exit(f"wharf up: the disk is full: {error.filename or arguments.data_dir}.")
    except KeyboardInterrupt:
        sys.exit("wharf up: stopped before it was up")


def run(data: Path, port: int, console: Console, listen: str | None = None) -> None:
    """Start all, say where it is, and stop all on SIGINT or SIGTERM.

    With ``listen`` other machines reach API, database and broker at that address, by TLS only.

    Raises:
        SetupError: something is missing or taken, or a database ended, in one sentence.
    """
    docker_host = os.environ.get("DOCKER_HOST", DEFAULT_DOCKER_HOST)
    life = load(AuthoritySettings, os.environ).life
    if listen is not None:
        require_own_address(listen)
    admin_key = _read_admin_key()
    asyncio.run(_require_engine(docker_host))
    shows_key = admin_key is None and not (data / "keys" / "admin.key").exists()
    stack = Stack.start(
        data,
        port=port,
        outside=_outside(),
        rate_per_minute=RATE_PER_MINUTE,
        admin_key=admin_key,
        flower_port=free_port(),
        address=listen or LOOPBACK,
        tls_life=life if listen else None,
    )
    try:
        flower = stack.start_flower()
        host_paths = os.environ.get("WHARF_HOST_PATHS", "")
        stack.add_server(SERVER_NAME, docker_host, host_paths=host_paths)
        stop = _stop_on_signals()
        _greet(console, stack, flower, shows_key=shows_key)
        while not stop.wait(LOOK_SECONDS):
            stack.require_databases()
            for name in stack.revive():
                console.print(f"{name} ended and was started again; see {data}/logs/{name}.log")
    finally:
        console.print("stopping …")
        stack.stop()


def require_own_address(text: str) -> None:
    """Check that servers can be told this address.

    Raises:
        SetupError: it is no address, or one of no machine in particular.
    """
    if not is_address(text) or ip_address(text).is_unspecified:
        raise SetupError(
            f"{text} is not the address of one machine",
            remedy="Give --listen the IP address at which other servers reach this machine.",
        )


class UpSettings(Settings):
    """The setting of the first start, before the API reads it."""

    admin_key: SecretStr | None = Field(default=None, min_length=MIN_KEY_CHARACTERS)


def _read_admin_key() -> str | None:
    """Return WHARF_ADMIN_KEY, or None: then a key is made at the first start.

    Raises:
        SetupError: it has too few characters.
    """
    key = load(UpSettings, os.environ).admin_key
    return key.get_secret_value() if key else None


async def _require_engine(docker_host: str) -> None:
    try:
        async with Engine.open(docker_host) as engine:
            await engine.ping()
    except EngineError as error:
        require_right(docker_host)
        raise SetupError(
            f"no Docker Engine answers at {docker_host}", remedy="Start Docker, or set DOCKER_HOST."
        ) from error


def _outside() -> Outside:
    return Outside(
        database_url=os.environ.get("WHARF_DATABASE_URL"),
        server_database_url=os.environ.get("WHARF_SERVER_DATABASE_URL"),
        broker_url=os.environ.get("WHARF_BROKER_URL"),
        broker_admin_url=os.environ.get("WHARF_BROKER_ADMIN_URL"),
        server_broker_url=os.environ.get("WHARF_SERVER_BROKER_URL"),
    )


def _greet(console: Console, stack: Stack, flower: str, *, shows_key: bool) -> None:
    console.print(f"[bold]Wharfinger is up.[/bold]  API {stack.url}/api  (docs: {stack.url}/docs)")
    if link := _invite_owner(stack):
        console.print(f"Console: open [bold]{link}[/bold]  (works once; you become the owner)")
    else:
        console.print(f"Console {stack.url}/console")
    console.print(f"Flower {flower}  (user admin, password in {stack.directory.path}/keys)")
    if shows_key:
        console.print(f"Admin key, shown this once: [bold]{stack.admin_key}[/bold]")
    if stack.published:
        console.print(f"All of {stack.address} has TLS, by the CA {stack.ca_file}")
    console.print("Ctrl-C stops all of it.")


def _invite_owner(stack: Stack) -> str | None:
    """Return a link for the first owner; ``None`` once there is an owner."""
    if any(member["role"] == "owner" for member in stack.call("user.all")):
        return None
    invited = stack.call("organization.inviteMember", {"role": "owner"})
    return f"{stack.url}{invited['path']}"


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda *_: stop.set())
    return stop


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="wharf up", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--port", type=int, default=4747)
    parser.add_argument("--listen")
    return parser.parse_args()


if __name__ == "__main__":
    main()
