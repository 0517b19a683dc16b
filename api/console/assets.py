"""Static files, addressed by a hash of their content, so that browsers may keep them."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from starlette.responses import Response

ROOT = "/console/static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HASH_CHARACTERS = 12
FOREVER = {"cache-control": "public, max-age=31536000, immutable"}
NAMES = (
    "console.css",
    "console.js",
    "icon.svg",
    "vendor/htmx.min.js",
    "vendor/idiomorph-ext.min.js",
)


@dataclass(frozen=True)
class Asset:
    content: bytes
    media_type: str


def asset_url(name: str) -> str:
    """Return the address of a static file."""
    digest = hashlib.sha256(_read(name).content).hexdigest()[:HASH_CHARACTERS]
    path = PurePosixPath(name)
    return f"{ROOT}/{path.stem}.{digest}{path.suffix}"


def answer_asset(path: str) -> Response:
    """Answer a static file; 404 for another address."""
    name = _names().get(path)
    if name is None:
        return Response(status_code=404)
    asset = _read(name)
    headers = {**FOREVER, "x-content-type-options": "nosniff"}
    return Response(asset.content, media_type=asset.media_type, headers=headers)


@cache
def _names() -> dict[str, str]:
    return {asset_url(name).removeprefix(f"{ROOT}/"): name for name in NAMES}


@cache
def _read(name: str) -> Asset:
    content = files(__package__).joinpath("static", name).read_bytes()
    return Asset(content, TYPES[PurePosixPath(name).suffix])
