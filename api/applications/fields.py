"""Fields of applications: names, sources, platforms, by Dokploy's names if it has them."""

import re
import secrets
import string
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from api.fields.shapes import Ids
from shared.reference import require_repository

MAX_APP_NAME_CHARACTERS = 63
SUFFIX_CHARACTERS = 6

_APP_NAME = r"^[a-zA-Z0-9._-]+$"
_PLATFORM = r"^[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?$"
_STAGE = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$"
_OTHER_SOURCES = ("github", "gitlab", "bitbucket", "gitea")
_OTHER_BUILDS = ("heroku_buildpacks", "paketo_buildpacks", "nixpacks", "static", "railpack")


def make_app_name(name: str) -> str:
    """Make a name for repositories and containers: ``My App`` → ``my-app-x1y2z3``."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    room = MAX_APP_NAME_CHARACTERS - SUFFIX_CHARACTERS - 1
    slug = re.sub("[^a-z0-9]+", "-", ascii_name).strip("-")[:room].strip("-") or "app"
    signs = string.ascii_lowercase + string.digits
    return f"{slug}-{''.join(secrets.choice(signs) for _ in range(SUFFIX_CHARACTERS))}"


def _usable_name(text: str) -> str:
    require_repository(text.lower())
    return text


def _unless(others: Iterable[str], message: str) -> BeforeValidator:
    """Refuse values of Dokploy that are not supported here, with a message."""

    def require(value: Any) -> Any:
        if value in others:
            raise ValueError(message.format(value))
        return value

    return BeforeValidator(require)


AppName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_APP_NAME_CHARACTERS, pattern=_APP_NAME),
    AfterValidator(_usable_name),
]
SourceType = Annotated[
    Literal["docker", "git", "drop"],
    _unless(_OTHER_SOURCES, "{} is no source here: use git, with the repository's https URL"),
]
BuildType = Annotated[
    Literal["dockerfile"],
    _unless(_OTHER_BUILDS, "{} is not built here: use dockerfile, with a Dockerfile in the source"),
]
Platform = Annotated[str, Field(max_length=60, pattern=_PLATFORM)]
Stage = Annotated[
    Annotated[str, Field(max_length=128, pattern=_STAGE)] | None,
    BeforeValidator(lambda value: value or None),
]
"""A stage of the Dockerfile; ``""``, as Dokploy's clients send it, is none."""

ServerIds = Ids
