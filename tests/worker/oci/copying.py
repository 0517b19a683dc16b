"""Copies as tests ask for them."""

from aiohttp import web

from shared.reference import parse_reference
from tests.worker.oci.parts import make_login, open_client
from tests.worker.oci.sample_images import Image, make_blob, make_image, make_index
from worker.oci.copy import copy_image
from worker.oci.registry.manifest import Descriptor
from worker.oci.transport.settings import ConnectionSettings
from worker.progress import TransferProgress

KIB = 1024


async def copy(
    source: str,
    target: str,
    settings: ConnectionSettings,
    *,
    user: str = "alice",
    seen: list[TransferProgress] | None = None,
) -> Descriptor:
    """As alice at the source, as ``user`` at the target."""
    here, there = parse_reference(source), parse_reference(target)
    moments: list[TransferProgress] = [] if seen is None else seen
    async with (
        open_client(here.registry, settings, make_login(here.registry)) as reading,
        open_client(there.registry, settings, make_login(there.registry, user)) as writing,
    ):
        return await copy_image(reading, here, writing, there, moments.append)


def two_platforms(seed: str) -> Image:
    shared = make_blob(f"{seed}/shared", 300 * KIB)
    return make_index(
        make_image(shared, make_blob(f"{seed}/1", 200 * KIB), make_blob(f"{seed}/2", 5)),
        make_image(shared, make_blob(f"{seed}/3", 100 * KIB), architecture="arm64"),
    )


async def keep_nothing(_: web.Request) -> web.StreamResponse | None:
    return None
