"""Check this server: ask its Engine for its version, as the far end of the path from the API."""

import time

from shared.jobs.results import ServerCheckResult
from worker.jobs.tools import Tools


async def check_engine(tools: Tools) -> ServerCheckResult:
    """Return the Engine's version and how long its answer took.

    Raises:
        EngineError: the Engine does not answer.
    """
    begun = time.monotonic()
    version = await tools.engine.version()
    milliseconds = round((time.monotonic() - begun) * 1000, 1)
    return ServerCheckResult(engine_version=version.engine, milliseconds=milliseconds)
