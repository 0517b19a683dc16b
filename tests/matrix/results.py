"""The kept results of ``make matrix``, by Engine, and their page of the docs."""

from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from worker.engine.calls import NEEDED_CALLS

FILE = Path(__file__).parent / "results.json"


class Result(BaseModel):
    """The tests that ran on one Engine, and in which folders they are."""

    version: str
    tests: list[str]
    passed: int
    failed: int
    skipped: int
    day: str


_RESULTS = TypeAdapter(dict[str, Result])


def read_results() -> dict[str, Result]:
    """Return the kept results by the Engine's name in `.ci/engines`."""
    return _RESULTS.validate_json(FILE.read_bytes()) if FILE.exists() else {}


def write_results(results: dict[str, Result]) -> None:
    """Keep these results."""
    FILE.write_bytes(_RESULTS.dump_json(dict(sorted(results.items())), indent=2) + b"\n")


def make_engines_page(made: str) -> str:
    """Return the page as Markdown."""
    rows = [
        f"| {name} | {one.version} | {', '.join(one.tests)} | {one.passed} | {one.failed} "
        f"| {one.skipped} | {one.day} |"
        for name, one in read_results().items()
    ]
    calls = [f"| `{call.shown}` | {call.purpose} |" for call in NEEDED_CALLS]
    return "\n".join([_HEAD.format(made=made), *rows, _CALLS, *calls, ""])


_HEAD = """# Engines

{made}

Docker Engine 20.10 and newer is supported, with its own image store and with containerd's. The
tests run on 20.10; `make matrix` runs them on other Engines, too. This table has the results that
were kept; those of 2026-11-30 are of a run by hand, without the journeys. An Engine without a row
was not tested so. CI runs a part of the tests on 28.5 with the store of containerd.

| Engine | version | tests | passed | failed | skipped | day |
|---|---|---|---|---|---|---|"""

_CALLS = """
Skipped tests are about what only other Engines or other image stores do.

## Podman

Podman 5 pulls, pushes, tags and builds images. It has no Swarm. A health check of a container needs
systemd timers on its server; without them a deployment with a health check fails after its time.
Where the worker sees no systemd, it says so in its log at its start, and `wharf doctor` and
`server.validate` have the check `healthChecks`. It was tried by hand with 5.4, without a
deployment; `make matrix` does not run it.

## An Engine behind a socket proxy

The worker tries these calls at its start, in a form that changes nothing. `wharf doctor` and
`server.validate` name those that are refused. Swarm services need `/services`, `/nodes` and
`/tasks`, builds by BuildKit use `POST /session` (with secrets they need it), and the first stage of
a registry's test uses `POST /auth`, too.

| call | needed for |
|---|---|"""
