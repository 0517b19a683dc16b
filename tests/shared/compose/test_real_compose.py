"""Our reading of compose files beside that of ``docker compose config``, whose output is stored.

`make matrix` runs the real program (2.40) over the files and compares its output with the stored.
"""

import json
from pathlib import Path

import pytest

from api.compose.dotenv import parse_dotenv
from shared.compose.images import ComposeFile, read_compose
from shared.errors import InvalidComposeError
from shared.reference import parse_reference

FILES = Path(__file__).parent / "files"
PROFILES = "# profiles: "
NAMES = sorted(file.stem for file in FILES.glob("*.yaml"))


def expected() -> dict[str, dict[str, str | None]]:
    """Return the image of each active service, by file; files that compose refuses are absent."""
    stored: dict[str, dict[str, str | None]] = json.loads((FILES / "expected.json").read_text())
    return stored


def read(name: str) -> ComposeFile:
    text, env = (FILES / f"{name}.yaml").read_text(), FILES / f"{name}.env"
    variables = parse_dotenv(env.read_text()) if env.exists() else {}
    profiles = variables.get("COMPOSE_PROFILES", "").split(",")
    if text.startswith(PROFILES):
        profiles = text.partition("\n")[0].removeprefix(PROFILES).split()
    return read_compose(text, variables, profiles)


@pytest.mark.parametrize("name", [name for name in NAMES if any(expected().get(name, {}).values())])
def test_the_images_of_active_services_are_those_of_compose(name: str) -> None:
    file = read(name)

    images = {service: image for service, image in expected()[name].items() if image}
    skipped = {
        service for service, reason in file.skipped if "policy" in reason or "built" in reason
    }
    found = {image.service: image.reference for image in file.images}
    assert found.keys() | skipped == images.keys()
    assert found == {
        service: parse_reference(image).tagged()
        for service, image in images.items()
        if service not in skipped
    }
    assert set(file.without_image) == {
        name for name, image in expected()[name].items() if not image
    }


@pytest.mark.parametrize(
    "name", [name for name in NAMES if not any(expected().get(name, {}).values())]
)
def test_a_file_that_compose_refuses_or_finds_empty_is_refused(name: str) -> None:
    with pytest.raises(InvalidComposeError):
        read(name)


def test_a_skipped_service_is_named_with_its_reason() -> None:
    assert read("policy_build").skipped == (("web", "it is built here"),)
    assert read("build_pull_never").skipped == (("web", "its pull policy is never"),)
    assert read("profiles_inactive").skipped == (("debug", "none of its profiles is active"),)


def test_only_some_policies_take_the_image_that_is_there() -> None:
    file = read("policies")

    assert [image.service for image in file.images if image.only_if_missing] == ["s1", "s2"]


def test_an_image_with_a_build_may_be_missing() -> None:
    assert [image.can_be_built for image in read("build_and_image").images] == [True, False]


def test_files_that_are_not_read_and_defaults_are_named() -> None:
    file = read_compose(
        "include: [a.yaml, {path: [b.yaml, c.yaml]}]\n"
        "services:\n"
        "  web: {image: 'a:${TAG:-1}'}\n"
        "  other: {extends: {file: d.yaml, service: x}}\n"
    )

    assert file.warnings == (
        "a.yaml: not read",
        "b.yaml: not read",
        "c.yaml: not read",
        "other: d.yaml, which it extends, is not read",
        "TAG: not set, its default is used",
    )
    assert file.without_image == ("other",)
