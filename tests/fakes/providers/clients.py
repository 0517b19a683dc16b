"""Settings of clients that find the fakes of providers under their own names."""

import os
from datetime import timedelta
from pathlib import Path

from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.providers.cloud import Cloud, names
from tests.worker.oci.parts import make_settings
from worker.oci.transport.settings import ConnectionSettings, Deadlines

LIMIT = timedelta(seconds=20)
"""The limit of each exchange, which a busy machine does not reach."""


def find_address(number: int) -> str:
    """Return a loopback address of this test process alone."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return f"127.{100 + worker}.{number}.1"


def make_client_settings(
    *clouds: Cloud, authority: Authority, directory: Path
) -> ConnectionSettings:
    """Return settings that find these clouds under their own names and trust their CA."""
    table = names(*clouds)
    for host in (*table, "docker.io"):  # by the name in an image for registries
        authority.trust(directory, host)
    deadlines = Deadlines(response=LIMIT, tcp=LIMIT, tls=LIMIT)
    return make_settings(certificates=directory, resolver=Names(table), deadlines=deadlines)
