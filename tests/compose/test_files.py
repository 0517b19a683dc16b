"""Checks of the Dockerfiles that need no Engine."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCKERFILES = [ROOT / "api" / "Dockerfile", ROOT / "worker" / "Dockerfile"]
ONLY_BUILDKIT = re.compile(r"^# *syntax|--mount|--link|--parents|<<|--network", re.MULTILINE)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_asks_for_nothing_that_only_buildkit_has(path: Path) -> None:
    assert not ONLY_BUILDKIT.findall(path.read_text())


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_images_are_built_with_the_uv_that_the_makefile_names(path: Path) -> None:
    wanted = re.findall(r"^UV_VERSION = (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert re.findall(r"uv==(\S+)", path.read_text()) == wanted
