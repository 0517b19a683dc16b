"""Stored commands: what was stored once can be read for as long as it may wait."""

import pytest
from pydantic import ValidationError

from shared.jobs.accesses import hosts_of
from shared.jobs.commands import SUPPORTED, ImageBuild, Kind, parse_command
from shared.jobs.sources import GitSource, UploadSource

STORED = {"application_id": "a", "reference": "app:1"}
GIT = {"url": "https://git.example/app.git", "branch": "main", "username": "porter"}
UPLOAD = {"kind": "upload", "context_id": "c", "size_bytes": 7, "sha256": "0" * 64}


def source_of(source: object) -> object:
    command = parse_command(Kind.IMAGE_BUILD, {**STORED, "source": source})
    assert isinstance(command, ImageBuild)
    assert parse_command(command.kind, command.model_dump(mode="json")) == command
    return command.source


@pytest.mark.parametrize("kind", [{}, {"kind": "git"}])
def test_a_build_of_a_repository_is_read_also_where_it_does_not_say_so(
    kind: dict[str, str],
) -> None:
    assert source_of({**GIT, **kind, "unknown": 1}) == GitSource.model_validate(GIT)


def test_a_build_of_an_upload_is_read() -> None:
    assert source_of(UPLOAD) == UploadSource.model_validate(UPLOAD)


@pytest.mark.parametrize(
    "source", [{}, {"kind": "upload"}, {**GIT, "kind": "upload"}, {**GIT, "kind": "tape"}, [], None]
)
def test_a_command_that_is_neither_is_refused(source: object) -> None:
    with pytest.raises(ValidationError):
        source_of(source)


def test_only_a_repository_has_a_host_that_a_secret_is_for() -> None:
    of_git, of_upload = (
        hosts_of(ImageBuild.model_validate({**STORED, "source": source}))
        for source in (GIT, UPLOAD)
    )

    assert (set(of_git), set(of_upload)) == ({"git.example"}, set())


RUNS = {"application_id": "a", "deployment_id": "d", "name": "app", "reference": "app:1"}
SSH = {"url": "git@git.example:app.git"}


@pytest.mark.parametrize(
    ("kind", "document", "version"),
    [
        (Kind.IMAGE_BUILD, {**STORED, "source": GIT}, 1),
        (Kind.IMAGE_BUILD, {**STORED, "source": UPLOAD}, 1),
        (Kind.IMAGE_BUILD, {**STORED, "source": SSH}, 2),
        (Kind.COMPOSE_PULL, {"compose": "", "images": []}, 1),
        (Kind.COMPOSE_PULL, {"compose": "", "images": [], "variables": {"TAG": "1"}}, 2),
        (Kind.COMPOSE_PULL, {"compose": "", "images": [], "profiles": ["web"]}, 2),
        (Kind.CONTAINER_REPLACE, {**RUNS, "stop_grace_seconds": 10}, 1),
        (Kind.CONTAINER_REPLACE, {**RUNS, "stop_grace_seconds": 60}, 2),
        (Kind.SERVICE_REPLACE, {**RUNS, "stop_signal": "SIGINT"}, 2),
        (Kind.IMAGE_DELETE, {"reference": "app:1", "registry_id": "r"}, 2),
    ],
)
def test_a_command_goes_to_no_worker_that_would_ignore_a_part_of_it(
    kind: Kind, document: dict[str, object], version: int
) -> None:
    assert parse_command(kind, document).version == version
    assert f"{kind}@{version}" in SUPPORTED
