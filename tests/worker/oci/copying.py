"""Copies for the tests."""

from aiohttp import web

from shared.reference import parse_reference
from tests.worker.oci.parts import make_login, open_client
from tests.worker.oci.sample_images import Image, make_blob, make_image, make_index
from worker.oci.copy import Copied, copy_image
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
) -> Copied:
    """Copy an image, as alice at the source and as ``user`` at the target."""
    source_reference, target_reference = parse_reference(source), parse_reference(target)
    progresses: list[TransferProgress] = [] if seen is None else seen
    async with (
        open_client(
            source_reference.registry, settings, make_login(source_reference.registry)
        ) as source_client,
        open_client(
            target_reference.registry, settings, make_login(target_reference.registry, user)
        ) as target_client,
    ):
        return await copy_image(
            source_client, source_reference, target_client, target_reference, progresses.append
        )


def make_two_platform_image(seed: str) -> Image:
    shared = make_blob(f"{seed}/shared", 300 * KIB)
    return make_index(
        make_image(shared, make_blob(f"{seed}/1", 200 * KIB), make_blob(f"{seed}/2", 5)),
        make_image(shared, make_blob(f"{seed}/3", 100 * KIB), architecture="arm64"),
    )


async def pass_through(_: web.Request) -> web.StreamResponse | None:
    return None
