"""The start of a worker: what it was told once it knows the next time."""

from pathlib import Path

import pytest

from shared.settings import WorkerSettings
from worker.server.__main__ import join
from worker.server.identity import Enrolled, StateDirectory

ENROLLED = Enrolled(server_id="server", organization_id="org", database_url="postgresql://db/wharf")
OLD, NEW = "http://10.0.0.1:4747", "https://wharf.example"


@pytest.mark.parametrize(
    ("before", "told", "known"),
    [(None, None, None), (None, NEW, NEW), (OLD, None, OLD), (OLD, NEW, NEW)],
)
def test_where_the_api_is_is_kept_until_another_address_is_told(
    tmp_path: Path, before: str | None, told: str | None, known: str | None
) -> None:
    state = StateDirectory.open(tmp_path)
    state.keep_enrolled(ENROLLED.model_copy(update={"api_url": before}))
    state.close()
    settings = {"state_dir": tmp_path, "broker_url": "redis://broker/0"}

    first, _ = join(WorkerSettings.model_validate({**settings, "url": told}))
    second, _ = join(WorkerSettings.model_validate(settings))

    assert first == second == ENROLLED.model_copy(update={"api_url": known})


def test_a_server_that_joined_before_the_address_was_kept_is_still_known(tmp_path: Path) -> None:
    text = '{"server_id": "s", "organization_id": "o", "database_url": "postgresql://db/wharf"}'
    (tmp_path / "server.json").write_text(text)
    state = StateDirectory.open(tmp_path)

    assert state.enrolled is not None
    assert state.enrolled.api_url is None
    state.close()
