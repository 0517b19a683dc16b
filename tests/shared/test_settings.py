from pathlib import Path

import pytest

from shared.errors import SetupError
from shared.settings import (
    ApiSettings,
    ControlSettings,
    DatabaseSettings,
    MigrationSettings,
    WorkerSettings,
    load,
)

SECRET = "what-nobody-may-see"
URL = f"postgresql://wharf_control:{SECRET}@database/wharf"
CONTROL = {
    "WHARF_DATABASE_URL": URL,
    "WHARF_BROKER_URL": f"redis://control:{SECRET}@broker/0",
    "WHARF_VAULT_PRIVATE_KEY": SECRET,
}


def test_a_role_reads_its_variables() -> None:
    settings = load(ControlSettings, CONTROL)

    assert settings.url == settings.direct_url == URL
    assert settings.vault_private_key.get_secret_value() == SECRET


def test_listening_may_go_another_way_than_statements() -> None:
    direct = "postgresql://database:5432/wharf"

    settings = load(DatabaseSettings, {**CONTROL, "WHARF_DATABASE_DIRECT_URL": direct})

    assert (settings.url, settings.direct_url) == (URL, direct)


def test_a_value_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")

    settings = load(DatabaseSettings, {"WHARF_DATABASE_URL_FILE": str(tmp_path / "url")})

    assert settings.url == URL


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"

    with pytest.raises(SetupError, match=r"WHARF_DATABASE_URL_FILE.*nowhere"):
        load(DatabaseSettings, {"WHARF_DATABASE_URL_FILE": str(missing)})


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "url").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SetupError, match="WHARF_DATABASE_URL_FILE"):
        load(DatabaseSettings, {"WHARF_DATABASE_URL_FILE": str(tmp_path / "url")})


@pytest.mark.parametrize("name", sorted(CONTROL))
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_setting_is_named_and_no_value_is_shown(name: str, value: str | None) -> None:
    environment = {key: text for key, text in CONTROL.items() if key != name}
    if value is not None:
        environment[name] = value

    with pytest.raises(SetupError) as caught:
        load(ControlSettings, environment)

    assert name in caught.value.message
    assert SECRET not in f"{caught.value.message} {caught.value.remedy} {caught.value.__cause__}"


def test_an_unreadable_value_is_not_repeated() -> None:
    with pytest.raises(SetupError) as caught:
        load(WorkerSettings, {"WHARF_DRAIN_SECONDS": SECRET})

    assert caught.value.message == "WHARF_DRAIN_SECONDS is invalid"


def test_secrets_are_not_shown_with_the_settings() -> None:
    assert SECRET not in repr(load(ControlSettings, CONTROL))


def test_each_role_knows_only_what_is_its_own() -> None:
    assert "vault_private_key" not in ApiSettings.model_fields
    assert not {"database_url", "vault_private_key"} & set(WorkerSettings.model_fields)


def test_variables_of_others_are_not_looked_at() -> None:
    assert load(WorkerSettings, {**CONTROL, "WHARF_ADMIN_KEY": SECRET}).drain_seconds == 30


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
    ],
)
def test_both_schemes_of_a_database_url_are_read(url: str, read: str) -> None:
    assert load(MigrationSettings, {"WHARF_DATABASE_URL": url}).url == read


@pytest.mark.parametrize("url", ["mysql://u:canary@h/d", "host=h password=canary"])
def test_another_database_url_is_refused_without_its_value(url: str) -> None:
    with pytest.raises(SetupError) as caught:
        load(MigrationSettings, {"WHARF_DATABASE_URL": url})

    assert caught.value.message == "WHARF_DATABASE_URL does not begin with postgresql://"


@pytest.mark.parametrize("url", ["flower.example:5555", "https://me:canary@flower.example"])
def test_an_address_of_flower_that_is_no_link_or_holds_a_login_is_refused(url: str) -> None:
    api = {"WHARF_DATABASE_URL": URL, "WHARF_VAULT_PUBLIC_KEY": "key"}

    assert load(ApiSettings, {**api, "WHARF_FLOWER_URL": ""}).flower_url is None
    with pytest.raises(SetupError) as caught:
        load(ApiSettings, {**api, "WHARF_FLOWER_URL": url})

    assert caught.value.message == "WHARF_FLOWER_URL is not http(s):// and a host"
