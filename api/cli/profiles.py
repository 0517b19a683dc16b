"""Stored profiles: the addresses of APIs with their keys, in a file that its owner alone reads."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from pydantic import BaseModel, SecretStr, ValidationError, field_serializer

from api.cli.output.text import write_note
from shared.errors import SetupError

ONLY_OWNER = 0o600


class Profile(BaseModel):
    """The address of an API and the key for it."""

    url: str
    api_key: SecretStr

    @field_serializer("api_key", when_used="json")
    def _show_key(self, key: SecretStr) -> str:
        return key.get_secret_value()


class Profiles(BaseModel):
    """All profiles by name; ``default`` names the one that is used if no other is named."""

    default: str | None = None
    profiles: dict[str, Profile] = {}


def profiles_path(environment: Mapping[str, str]) -> Path:
    """Return the path of the file (XDG Base Directory Specification)."""
    directory = environment.get("XDG_CONFIG_HOME") or ""
    base = Path(directory) if directory.startswith("/") else Path.home() / ".config"
    return base / "wharfinger" / "profiles.json"


def read_profiles(environment: Mapping[str, str]) -> Profiles:
    """Return the stored profiles; none if there is no file.

    Raises:
        SetupError: the file cannot be read, or is not valid.
    """
    path = profiles_path(environment)
    try:
        text = path.read_text(encoding="utf-8")
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Profiles()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"the profiles in {path} cannot be read", remedy=str(error)) from None
    if mode & ~ONLY_OWNER:
        write_note(f"warning: others can read the keys in {path}; run: chmod 600 {path}")
    try:
        return Profiles.model_validate_json(text)
    except ValidationError:
        # Without its cause, which may hold a key.
        raise SetupError(
            f"the profiles in {path} are not valid",
            remedy="Remove the file and run wharf login again.",
        ) from None


def write_profiles(profiles: Profiles, environment: Mapping[str, str]) -> Path:
    """Replace the file in one step; return its path.

    Raises:
        SetupError: the file cannot be written.
    """
    path = profiles_path(environment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The mode of a temporary file is 0600 from its beginning.
        with NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            try:
                file.write(f"{profiles.model_dump_json(indent=2)}\n")
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SetupError(
            f"the profile cannot be stored in {path}: {error.strerror}",
            remedy="Set XDG_CONFIG_HOME to a directory that can be written.",
        ) from error
    return path
