"""The address of the API and the key for it: from the environment, or from a stored profile."""

import os
from collections.abc import Mapping

from pydantic import SecretStr

from api.cli.profiles import Profile, read_profiles
from shared.errors import SetupError
from shared.settings import Settings, load

DEFAULT_URL = "http://127.0.0.1:4747"


class ClientSettings(Settings):
    """The API's URL, and the key for its requests."""

    url: str = DEFAULT_URL
    api_key: SecretStr | None = None
    profile: str | None = None


def find_settings(
    profile: str | None = None, environment: Mapping[str, str] = os.environ
) -> ClientSettings:
    """Return the settings of the named profile, of the environment, or of the stored profile.

    The key of a profile is sent to the URL of the profile and to no other.

    Raises:
        SetupError: there is no such profile, or a variable or the file of profiles is not valid.
    """
    if profile:
        return _of(_named(profile), profile)
    given = load(ClientSettings, environment)
    is_url_given = "url" in given.model_fields_set
    if is_url_given and given.api_key:
        return given
    profiles = read_profiles(environment)
    name = given.profile or profiles.default
    if name is None:
        return given
    stored = profiles.profiles.get(name)
    if stored is None:
        if given.profile:
            raise _no_profile(name, list(profiles.profiles))
        return given
    if is_url_given and given.url.rstrip("/") != stored.url.rstrip("/"):
        return given
    return _of(stored, name).model_copy(update={"api_key": given.api_key or stored.api_key})


def _named(name: str) -> Profile:
    profiles = read_profiles(os.environ).profiles
    if name not in profiles:
        raise _no_profile(name, list(profiles))
    return profiles[name]


def _of(profile: Profile, name: str) -> ClientSettings:
    return ClientSettings(url=profile.url, api_key=profile.api_key, profile=name)


def _no_profile(name: str, names: list[str]) -> SetupError:
    known = f"There is: {', '.join(names)}." if names else "Store one: wharf login URL."
    return SetupError(f"there is no profile {name}", remedy=known)
