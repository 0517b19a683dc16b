"""A real registry behind the fakes, and the CA of their hosts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.worker.control.providers.login_cases import CASES, Case
from worker.local.registry import LocalRegistry


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def behind(open_registry: LocalRegistry) -> str:
    """The address of the registry behind the fakes."""
    return open_registry.host


@pytest.fixture(params=list(CASES))
async def case(
    request: pytest.FixtureRequest, behind: str, authority: Authority, tmp_path: Path
) -> AsyncIterator[Case]:
    """Each provider in turn."""
    async with CASES[request.param](behind, authority, tmp_path / "certs.d") as opened:
        yield opened
