"""Check that an Engine can unpack the layers of an image, before it fetches them."""

import re

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.engine.errors import EngineOperation
from worker.engine.transport.connection import Engine
from worker.oci.images.remote_image import RemoteImage

OLDEST_DOCKER, FIRST_WITH_ZSTD = 17, 23
"""Docker's own versions begin with 17; a lower one is podman's, which unpacks zstd."""


async def unpacks_zstd(engine: Engine) -> bool:
    """Return whether the Engine unpacks layers that zstd has compressed."""
    found = re.match(r"\d+", (await engine.version()).engine)
    major = int(found[0]) if found else FIRST_WITH_ZSTD
    return not OLDEST_DOCKER <= major < FIRST_WITH_ZSTD


async def require_unpackable(engine: Engine, target: Reference, image: RemoteImage) -> None:
    """Raise `EngineError` (``compression_unsupported``) if the Engine cannot unpack a layer."""
    packed = [layer for layer in image.layers if layer.media_type.endswith("zstd")]
    if packed and not await unpacks_zstd(engine):
        version = (await engine.version()).engine
        raise EngineError(
            FaultCode.COMPRESSION_UNSUPPORTED,
            f"{EngineOperation('pull', target)}: {len(packed)} of its {len(image.layers)} layers "
            f"are compressed by zstd, which the Docker Engine {version} cannot unpack",
        )
