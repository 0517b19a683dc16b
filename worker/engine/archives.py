"""Save an image of an Engine to a file, as ``docker save`` does."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

from shared.errors import EngineError
from shared.faults import FaultCode
from worker.engine.errors import EngineOperation
from worker.engine.transport.connection import Engine

IDLE = timedelta(minutes=10)
"""An Engine with the overlay2 store writes the whole archive to its disk before it sends any."""


async def save(engine: Engine, image_id: str, path: Path) -> int:
    """Write the archive of a local image to a new file; return its size in bytes.

    Raises:
        EngineError: ``local_image_missing``, ``engine_stalled``, ``disk_full`` …
    """
    operation = EngineOperation(f"save {image_id}", missing=FaultCode.LOCAL_IMAGE_MISSING)
    size = 0
    pieces = engine.download(f"images/{image_id}/get", idle=IDLE, operation=operation)
    try:
        async with contextlib.aclosing(pieces):
            with await asyncio.to_thread(path.open, "wb") as file:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                    size += len(piece)
    except OSError as error:
        raise EngineError(
            FaultCode.DISK_FULL,
            f"save {image_id}: the archive of {size} bytes so far cannot be written to the "
            f"worker's state directory ({error.strerror})",
        ) from error
    return size
