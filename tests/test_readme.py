"""What the README promises is there, and what is there it names."""

from pathlib import Path

import pytest

from shared.settings import (
    ApiSettings,
    ControlSettings,
    DatabaseSettings,
    MigrationSettings,
    Settings,
    WorkerSettings,
)

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize(
    "kind", [DatabaseSettings, MigrationSettings, ApiSettings, ControlSettings, WorkerSettings]
)
def test_every_setting_is_documented(kind: type[Settings]) -> None:
    names = {f"WHARF_{field.upper()}" for field in kind.model_fields}

    assert not {name for name in names if f"`{name}`" not in README}


def test_the_two_commands_stand_before_everything_else() -> None:
    assert README.index("make demo") < README.index("curl")
    assert README.index("make test") < README.index("curl")
