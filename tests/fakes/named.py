"""Servers on the real names of providers: one address on loopback, port 443, a CA of the test."""

import errno
import os
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from shared.networks import parse_networks
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.web import Answer, Fake, open_fake
from worker.control.providers.provider import HttpClient
from worker.oci.transport.settings import ConnectionSettings, Deadlines

ANYWHERE = parse_networks("public,private,loopback")
TRIES = 20
LIMIT = timedelta(seconds=20)
"""The limit of each exchange, which a busy machine does not reach."""


@dataclass
class NamedHosts:
    """Hosts that a test serves by ``hosts``; ``settings`` find them and trust their CA."""

    settings: ConnectionSettings
    fake: Fake
    hosts: dict[str, Answer]

    @property
    def client(self) -> HttpClient:
        return HttpClient(self.settings)

    @property
    def requests(self) -> list[str]:
        """Return the requests in their order: ``POST HOST/path``."""
        return [f"{each.method} {each.host}{each.path}" for each in self.fake.requests]


@asynccontextmanager
async def open_named(
    authority: Authority, hosts: Mapping[str, Answer]
) -> AsyncIterator[NamedHosts]:
    """Serve each host by its answer until the block is left; `NamedHosts.hosts` may change."""
    answers = dict(hosts)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers[request.host](request)

    for name in hosts:
        authority.trust(authority.directory / "certs.d", name)
    tls = authority.context(*hosts)
    for attempt in range(TRIES):
        address = ".".join(str(part) for part in (127, *random.choices(range(2, 250), k=3)))  # noqa: S311
        try:
            async with open_fake(answer, tls=tls, listen=address, port=443) as fake:
                settings = _settings(authority.directory / "certs.d", hosts, address)
                yield NamedHosts(settings, fake, answers)
                return
        except PermissionError:
            missing = pytest.fail if os.environ.get("CI") else pytest.skip
            missing("only root may listen on port 443")
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempt == TRIES - 1:
                raise


def _settings(certificates: Path, hosts: Mapping[str, Answer], address: str) -> ConnectionSettings:
    resolver = Names(dict.fromkeys(hosts, (address,)))
    deadlines = Deadlines(response=LIMIT, tcp=LIMIT, tls=LIMIT)
    return ConnectionSettings(
        ANYWHERE, certificates=certificates, resolver=resolver, deadlines=deadlines
    )
