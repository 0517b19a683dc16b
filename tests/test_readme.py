"""What the README promises is there, and what is there it names."""

import re
from pathlib import Path

import pytest

from api.builds.context_upload import UPLOAD
from api.jobs.event_access import EVENTS
from api.procedure.context import Role
from api.routers import PROCEDURES
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


def test_the_table_of_roles_is_the_one_of_the_procedures() -> None:
    section = README.split("## Who may do what")[1].split("\n## ")[0]
    columns: tuple[Role | None, ...] = ("member", "admin", None)
    documented = {
        f"{router.strip(' `')}.{name}": role
        for line in section.splitlines()
        if line.startswith("| `")
        for router, *cells in [line.strip("|").split("|")]
        for role, cell in zip(columns, cells, strict=True)
        for name in re.findall("`(.+?)`", cell)
    }

    assert documented == {one.name: one.role for one in (*PROCEDURES.values(), EVENTS, UPLOAD)}


def test_no_two_procedures_share_an_idempotency_key() -> None:
    calls = [call.replace("\\\n", " ") for call in README.split("curl ")[1:]]
    keys = [
        (key[1], name[1])
        for call in calls
        for key in [re.search(r"Idempotency-Key: ([^\"]+)\"", call.partition("\n")[0])]
        for name in [re.search(r"/api/(?:trpc/)?(\w+\.\w+)", call)]
        if key and name
    ]

    assert len(keys) >= 3
    assert len({key for key, _ in keys}) == len(set(keys))
