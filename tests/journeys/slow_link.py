"""A slow link of a server: a transfer is under way for long enough to be looked at."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from worker.local.fleet import Host


@contextmanager
def slow_link(host: Host, rate: str) -> Iterator[None]:
    """Bound what the server sends while the block runs; ``rate`` as of tc, for example 80mbit."""
    link = [*host.wrapper, "tc", "qdisc", "{}", "dev", "eth0", "root"]
    bound = ["tbf", "rate", rate, "burst", "256kb", "latency", "50ms"]
    subprocess.run([word.format("add") for word in link] + bound, check=True)
    try:
        yield
    finally:
        subprocess.run([word.format("delete") for word in link], check=True)
