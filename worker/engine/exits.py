"""The exit code of a container's last run that ended, also if it is running again."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta

from shared.errors import EngineError
from worker.engine.errors import EngineOperation
from worker.engine.transport.connection import Engine
from worker.engine.transport.stream import JsonObject

LIMIT = timedelta(seconds=2)

EXIT_CODES = ("exitCode", "containerExitCode")
"""The attribute of Docker, and that of podman."""


async def find_exit_code(engine: Engine, container_id: str) -> int | None:
    """Return the exit code of the last run that ended, ``None`` if the Engine does not know it.

    A restart resets the code that an inspection shows. An Engine keeps its last events.
    """
    params = {
        "since": "1",
        # With all digits: an Engine leaves out what happened after it.
        "until": "{}.{:09d}".format(*divmod(time.time_ns(), 10**9)),
        "filters": json.dumps({"container": [container_id], "event": ["die", "died"]}),
    }
    operation = EngineOperation(f"read the events of container {container_id[:12]}")
    found: int | None = None
    with suppress(EngineError):
        async with engine.stream(
            "GET", "events", params=params, idle=LIMIT, operation=operation
        ) as lines:
            async for line in lines:
                code = _read(line)
                found = found if code is None else code
    return found


def _read(line: JsonObject) -> int | None:
    actor = line.get("Actor")
    attributes = actor.get("Attributes") if isinstance(actor, Mapping) else None
    if not isinstance(attributes, Mapping):
        return None
    codes = (attributes.get(name) for name in EXIT_CODES)
    return next((int(code) for code in codes if isinstance(code, str) and code.isdigit()), None)
