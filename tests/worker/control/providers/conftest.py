"""A real registry behind the fakes, and the CA of their hosts."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.worker.control.providers.login_cases import CASES, Case
from worker.local.registry import PROGRAM, LocalRegistry


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that accepts everybody; the fakes in front of it do not."""
    reason = None
    if os.geteuid():
        reason = "the hosts of providers listen on port 443, which takes root"
    elif shutil.which(PROGRAM) is None:
        reason = f"there is no {PROGRAM} here"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    registry = LocalRegistry.start(tmp_path_factory.mktemp("behind"))
    yield registry.host
    registry.stop()


@pytest.fixture(params=list(CASES))
async def case(
    request: pytest.FixtureRequest, behind: str, authority: Authority, tmp_path: Path
) -> AsyncIterator[Case]:
    """Each provider in turn."""
    async with CASES[request.param](behind, authority, tmp_path / "certs.d") as opened:
        yield opened
