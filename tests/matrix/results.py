"""The kept results of ``make matrix``, by Engine, and their page of the docs."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from worker.engine.calls import NEEDED_CALLS

FILE = Path(__file__).parent / "results.json"


class Result(BaseModel):
    """The tests of one folder, or of one file, that ran on one Engine."""

    version: str
    passed: int
    failed: int
    skipped: int
    day: str


Results = dict[str, dict[str, Result]]
"""The results by the Engine's name in `.ci/engines`, and by the tests' path below ``tests``."""

_RESULTS = TypeAdapter(Results)


def read_results() -> Results:
    """Return the kept results."""
    return _RESULTS.validate_json(FILE.read_bytes()) if FILE.exists() else {}


def write_results(results: Results) -> None:
    """Keep these results."""
    ordered = {name: dict(sorted(results[name].items())) for name in sorted(results)}
    FILE.write_bytes(_RESULTS.dump_json(ordered, indent=2) + b"\n")


def make_engines_page(made: str) -> str:
    """Return the page as Markdown."""
    rows = [_make_row(name, folders) for name, folders in read_results().items()]
    calls = [f"| `{call.shown}` | {call.purpose} |" for call in NEEDED_CALLS]
    return "\n".join([_HEAD.format(made=made), *rows, _CALLS, *calls, ""])


def _make_row(name: str, folders: dict[str, Result]) -> str:
    results: Sequence[Result] = list(folders.values())
    newest = max(results, key=lambda one: one.day)
    passed, failed, skipped = (
        sum(counts)
        for counts in zip(*((one.passed, one.failed, one.skipped) for one in results), strict=True)
    )
    tests = ", ".join(f"`tests/{folder}`" for folder in folders)
    return (
        f"| {name} | {newest.version} | {tests} | {passed} | {failed} | {skipped} | {newest.day} |"
    )


_HEAD = """# Engines

{made}

Docker Engine 20.10 and newer is supported, with its own image store and with containerd's, and
Podman 5. The tests run on 20.10; `make matrix` runs them on other Engines, too, and this table has
its results. An Engine without a row was not tested so. CI runs a part of the tests on 28.5 with the
store of containerd, and those of Podman. The last column is the day of the newest result.

| Engine | version | tests | passed | failed | skipped | day |
|---|---|---|---|---|---|---|"""

_CALLS = """
## A rootless Engine

It has a network of its own, so it reaches no registry on the loopback of its server; the tests with
such a registry were skipped. It ran as a user without rights, with slirp4netns and without cgroups:
the machine had version 1 of them. BuildKit drops the setuid and setgid bits of copied files there,
as the tests expect.

## Podman

Podman 5 pulls, pushes, tags and builds images, and runs applications as containers. These tests run
on a real Podman as root, with runc. Podman differs so:

- It has no Swarm and no BuildKit. Build secrets need BuildKit.
- A health check of a container needs systemd timers on its server; without them a deployment with a
  health check fails after its time. Where the worker sees no systemd, it says so in its log at its
  start, and `wharf doctor` and `server.validate` have the check `healthChecks`. Two tests need such
  a machine. They were skipped where there was none.
- Plain HTTP to a registry has to be allowed in its `registries.conf`. Its login speaks TLS only, so
  the test of such a registry leaves that stage out, and says so.
- It does not look up images at a registry for the worker. Where only Podman reaches the registry,
  by a proxy for example, a push cannot be verified.

## An Engine behind a socket proxy

The worker tries these calls at its start, in a form that changes nothing. `wharf doctor` and
`server.validate` name those that are refused. Swarm services need `/services`, `/nodes` and
`/tasks`, builds by BuildKit use `POST /session` (with secrets they need it), and the first stage of
a registry's test uses `POST /auth`, too.

| call | needed for |
|---|---|"""
