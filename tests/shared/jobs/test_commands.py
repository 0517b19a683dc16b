"""Stored commands: what was stored once can be read for as long as it may wait."""

import pytest
from pydantic import ValidationError

from shared.jobs.accesses import hosts_of
from shared.jobs.commands import (
    GitSource,
    ImageBuild,
    Kind,
    UploadSource,
    parse_command,
)

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
