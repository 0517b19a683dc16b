"""Rules that import-linter cannot check: shared is shared, and every module has its place.

How the first rule is evaluated. Grimp draws the graph of imports. A leaf module of ``shared`` is
*used* by a side if any module of that side imports it, itself or by way of others. ``shared`` may
hold only what both sides use; exempt is the schema (the models and the migrations made from them:
both sides stand on it, the worker by statements only), and ``shared.jobs.store`` counts as one
module: the API submits, control releases, both to one state machine. A function nobody calls is
not seen here.
"""

import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
UNITS = ("shared.jobs.store",)
EXEMPT = ("shared.migrations.", "shared.models.")

TOP = {
    *("pyproject.toml", "README.md", "worker", "api", "shared", "tests", "compose.yaml"),
    *("Makefile", "uv.lock", "LICENSE"),
}
MAX_MODULES = 15
UNTRACKED = {"node_modules", "dist", "build", "htmlcov"}

# The parts of each side. A new name here is a decision about the layout, not a detail.
PARTS = {
    "api": {
        *("__main__", "main", "routers", "errors", "cli"),
        *("console", "docs", "http", "procedure", "fields", "limits", "sockets", "events"),
        "uploads",
        *("accounts", "applications", "builds", "compose", "deploy_hooks", "deployments"),
        "dokploy",
        *("images", "jobs", "operations", "registries", "rollbacks", "scans", "servers"),
        "signatures",
        "webhooks",
    },
    "worker": {
        *("control", "server", "local", "engine", "oci"),
        *("builds", "deployments", "images", "jobs", "registries", "scans"),
        *("broker", "broker_users", "files", "login", "machine", "processes", "progress"),
        "registry_tls",
        *("backup", "vault"),
    },
    "wharfinger": {
        *("client", "asynchronous", "synchronous", "groups", "models"),
        *("following", "uploading", "caller", "connection", "failures", "options"),
        *("calls", "content", "errors", "retries"),
    },
    "shared": {
        *("audit", "compose", "credentials", "deployments", "jobs", "migrations", "models"),
        "servers",
        *("database", "errors", "faults", "networks", "reference", "settings", "vault", "versions"),
        *("coroutines", "ids", "logs", "providers", "scans", "set_aside", "signatures", "ssh"),
        "tls",
        *("untrusted", "webhooks"),
    },
}


@cache
def graph() -> grimp.ImportGraph:
    drawn = grimp.build_graph(*PARTS, cache_dir=None)
    for unit in UNITS:
        drawn.squash_module(unit)
    return drawn


def is_leaf(module: str) -> bool:
    return module in UNITS or not graph().find_children(module)


def shared_modules() -> set[str]:
    leaves = {name for name in graph().find_descendants("shared") if is_leaf(name)}
    return {name for name in leaves if not f"{name}.".startswith(EXEMPT)}


def used_by(side: str) -> set[str]:
    modules = {side, *graph().find_descendants(side)}
    return {name for module in modules for name in graph().find_upstream_modules(module)}


@pytest.mark.parametrize("side", ["api", "worker"])
def test_shared_holds_only_what_both_sides_use(side: str) -> None:
    unused = shared_modules() - used_by(side)

    assert not unused, f"{side} uses none of {sorted(unused)}: they belong to the other side"


@pytest.mark.parametrize("package", sorted(PARTS))
def test_a_package_has_no_part_that_is_not_in_the_layout(package: str) -> None:
    children = {name.rpartition(".")[2] for name in graph().find_children(package)}

    assert children <= PARTS[package]


def test_no_folder_has_more_than_fifteen_modules() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    modules = Counter(str(path.parent) for path in map(Path, tracked) if path.name != "__init__.py")
    assert {folder: n for folder, n in modules.items() if n > MAX_MODULES} == {}


def test_the_top_of_the_repository_shows_only_the_agreed_names() -> None:
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}

    assert visible - UNTRACKED <= TOP


def test_every_package_that_is_shipped_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    moved = {path.name for folder in wheel["sources"] for path in (ROOT / folder).iterdir()}
    shipped = {*wheel["packages"], *moved}

    assert shipped == set(project["tool"]["importlinter"]["root_packages"]) == set(PARTS)
    assert shipped | {"tests"} == set(project["tool"]["mypy"]["packages"])


def test_a_login_for_an_engine_is_made_only_where_its_destination_was_seen() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "worker").rglob("*.py")
        if "EngineLogin(" in path.read_text()
    }

    assert makers == {"worker/login.py", "worker/oci/destinations.py"}


def test_no_statement_of_ours_waits_for_an_advisory_lock() -> None:
    """Each role of a server may take any of those, and keep it."""
    sources = [
        path
        for package in PARTS
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".sql"}
    ]

    assert len(sources) > 200
    assert not [path for path in sources if "pg_advisory" in path.read_text()]
