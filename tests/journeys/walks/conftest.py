"""What both walks use of the started stack."""

from collections.abc import Iterator

import pytest

from tests.journeys.conftest import PASSWORD, Port
from tests.journeys.console.conftest import chromium, owner
from worker.local.registry import LocalRegistry

__all__ = ["chromium", "owner"]


@pytest.fixture(scope="module")
def kept(port: Port, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A registry for the copies that are kept for rollbacks, which Wharfinger does not know."""
    registry = LocalRegistry.start(
        tmp_path_factory.mktemp("kept"), address=port.fleet.address, users={"porter": PASSWORD}
    )
    yield registry
    registry.stop()
