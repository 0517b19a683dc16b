"""``wharf login``, ``logout`` and ``whoami``: profiles are checked, stored and used."""

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from api.cli.profiles import Profile, Profiles, profiles_path, read_profiles, write_profiles
from api.cli.settings import find_settings
from shared.errors import SetupError
from tests.api.asking import ADMIN_KEY
from tests.api.cli.running import Ran, run
from tests.api.events.reading import serving
from worker.local.processes import free_port

STAGING = Profile(url="https://staging.example", api_key=SecretStr("staging-key"))
MAIN = Profile(url="https://main.example", api_key=SecretStr("main-key"))
NOTHING = {"WHARF_URL": "", "WHARF_API_KEY": ""}


@pytest.fixture
async def url(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as (_, url):
        yield url


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """No address and no key in the environment, and a folder for profiles."""
    return {**NOTHING, "XDG_CONFIG_HOME": str(tmp_path / "config")}


async def wharf(variables: dict[str, str], *words: str, text: str = "") -> Ran:
    given = {name: value for name, value in variables.items() if name != "WHARF_API_KEY"}
    given.pop("WHARF_URL", None)
    return await run(
        variables["WHARF_URL"], *words, text=text, key=variables["WHARF_API_KEY"], **given
    )


async def test_a_profile_is_stored_after_it_was_checked(
    url: str, variables: dict[str, str], tmp_path: Path, client: httpx2.AsyncClient
) -> None:
    viewer = (await client.post("/api/apiKey.create", json={"name": "v", "role": "viewer"})).json()
    key_file = tmp_path / "key"
    key_file.write_text(f"{viewer['key']}\n")

    first = await wharf(variables, "login", f"{url}/api/", "--key-stdin", text=f"{ADMIN_KEY}\n")
    second = await wharf(
        variables, "login", url, "--profile", "reader", "--key-file", str(key_file)
    )
    default = await wharf(variables, "whoami")
    named = await wharf(variables, "--profile", "default", "whoami")
    by_variable = await wharf({**variables, "WHARF_PROFILE": "default"}, "whoami")

    path = profiles_path(variables)
    assert first.code == 0 and f"at {url}; profile default is stored in {path}" in first.out
    assert second.code == 0 and "(viewer)" in second.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert "role: viewer\n" in default.out and "profile: reader\n" in default.out
    assert "role: admin\n" in named.out and named.out == by_variable.out
    assert ADMIN_KEY not in first.out + first.err


async def test_variables_that_win_over_the_profile_are_named(
    url: str, variables: dict[str, str]
) -> None:
    given = {**variables, "WHARF_URL": "https://other.example"}

    stored = await wharf(given, "login", url, "--key-stdin", text=ADMIN_KEY)

    assert stored.code == 0
    assert stored.err == "WHARF_URL: set in the environment, and used before the profile\n"


async def test_a_wrong_key_and_an_address_without_an_api_are_not_stored(
    url: str, variables: dict[str, str]
) -> None:
    wrong = await wharf(variables, "login", url, "--key-stdin", text="wharf_wrong")
    nowhere = await wharf(
        variables, "login", f"http://127.0.0.1:{free_port()}", "--key-stdin", text="wharf_x"
    )
    none = await wharf(variables, "login", url)

    assert [ran.code for ran in (wrong, nowhere, none)] == [1, 1, 1]
    assert "wharf_wrong" not in wrong.err
    assert "cannot be reached" in nowhere.err
    assert "Give --key-file or --key-stdin" in none.err
    assert not profiles_path(variables).exists()


async def test_a_profile_is_removed(variables: dict[str, str]) -> None:
    write_profiles(Profiles(default="b", profiles={"a": MAIN, "b": STAGING}), variables)

    removed = await wharf(variables, "logout", "--profile", "b")
    again = await wharf(variables, "logout", "--profile", "b")
    last = await wharf(variables, "logout")

    assert removed == Ran(0, "profile b is removed; a is used now\n", "")
    assert (again.code, "there is no profile b. There is: a." in again.err) == (1, True)
    assert last == Ran(0, "profile a is removed\n", "")
    assert json.loads(profiles_path(variables).read_text()) == {"default": None, "profiles": {}}


def test_the_environment_wins_over_profiles_and_a_named_profile_over_it(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_profiles(Profiles(default="main", profiles={"main": MAIN, "staging": STAGING}), variables)
    monkeypatch.setenv("XDG_CONFIG_HOME", variables["XDG_CONFIG_HOME"])
    given = {**variables, "WHARF_URL": "https://other.example", "WHARF_API_KEY": "other-key"}

    found = {
        "default": find_settings(None, variables),
        "variable": find_settings(None, {**variables, "WHARF_PROFILE": "staging"}),
        "environment": find_settings(None, {**given, "WHARF_PROFILE": "staging"}),
        "option": find_settings("staging", given),
        "key alone": find_settings(None, {**variables, "WHARF_API_KEY": "other-key"}),
    }

    def key(name: str) -> str | None:
        api_key = found[name].api_key
        return api_key.get_secret_value() if api_key else None

    assert {name: (one.url, key(name)) for name, one in found.items()} == {
        "default": ("https://main.example", "main-key"),
        "variable": ("https://staging.example", "staging-key"),
        "environment": ("https://other.example", "other-key"),
        "option": ("https://staging.example", "staging-key"),
        "key alone": ("https://main.example", "other-key"),
    }


def test_the_key_of_a_profile_is_not_sent_to_another_address(variables: dict[str, str]) -> None:
    write_profiles(Profiles(default="main", profiles={"main": MAIN}), variables)

    other = find_settings(None, {**variables, "WHARF_URL": "https://other.example"})
    same = find_settings(None, {**variables, "WHARF_URL": "https://main.example/"})

    assert other.api_key is None
    assert same.api_key == MAIN.api_key


def test_an_unknown_profile_names_the_known_ones(variables: dict[str, str]) -> None:
    write_profiles(Profiles(default="main", profiles={"main": MAIN}), variables)

    with pytest.raises(SetupError) as caught:
        find_settings(None, {**variables, "WHARF_PROFILE": "mian"})

    assert caught.value.message == "there is no profile mian"
    assert caught.value.remedy == "There is: main."


def test_a_file_that_others_can_read_or_that_is_broken_is_reported(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_profiles(Profiles(default="main", profiles={"main": MAIN}), variables)
    path.chmod(0o644)

    read = read_profiles(variables)
    warned = capsys.readouterr().err
    path.write_text('{"profiles": {"main": {"api_key": "main-key"}}}')
    with pytest.raises(SetupError) as caught:
        read_profiles(variables)

    assert read.profiles == {"main": MAIN}
    assert f"others can read the keys in {path}; run: chmod 600 {path}" in warned
    assert "main-key" not in f"{caught.value.message}{caught.value.remedy}"
