"""Commands run in the process of the API: its log must not stand in what they write."""

import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def log_apart() -> Iterator[None]:
    """Write the log to the first standard error, which no command uses."""
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.configure(**before)
