"""One copy in a process of its own, for its time and its memory: ``carry SOURCE TARGET NETWORK``.

Username and password of both registries come by standard input. Says in JSON how long it took, and
what it held at most above what it held before.
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

from pydantic import SecretStr

from shared.networks import parse_networks
from shared.reference import parse_reference, parse_registry
from worker.login import Login
from worker.oci.copy import copy_image
from worker.oci.registry.client import RegistryClient
from worker.oci.transport.settings import ConnectionSettings
from worker.registry_tls import RegistryTls


async def carry(source: str, target: str, network: str, username: str, password: str) -> float:
    """The seconds that a copy took, connections and all."""
    here, there = parse_reference(source), parse_reference(target)
    settings = ConnectionSettings(parse_networks("private,loopback"), frozenset({network}))
    begun = time.perf_counter()
    async with (
        _open(here.registry, username, password, settings) as reading,
        _open(there.registry, username, password, settings) as writing,
    ):
        await copy_image(reading, here, writing, there, lambda _: None)
    return time.perf_counter() - begun


def _open(host: str, username: str, password: str, settings: ConnectionSettings) -> RegistryClient:
    login = Login(
        host=host, username=username, secret=SecretStr(password), tls=RegistryTls(plain_http=True)
    )
    return RegistryClient(parse_registry(host), login, settings)


def _memory(name: str) -> int:
    """Bytes of ``VmRSS`` (now) or ``VmHWM`` (at most until now)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    source, target, network = sys.argv[1:]
    username, password = sys.stdin.read().split()
    gc.collect()
    rest = _memory("VmRSS")
    seconds = asyncio.run(carry(source, target, network, username, password))
    print(json.dumps({"seconds": seconds, "bytes": _memory("VmHWM") - rest}))  # noqa: T201


if __name__ == "__main__":
    main()
