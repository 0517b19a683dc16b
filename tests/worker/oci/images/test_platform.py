"""Platforms of images and of the machines that run them."""

import pytest

from worker.oci.images.platform import parse_platform


@pytest.mark.parametrize(
    ("machine", "image", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/386", True),
        ("linux/386", "linux/amd64", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm/v7", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm", "linux/arm/v7", True),
    ],
)
def test_an_image_runs_on_its_own_and_on_compatible_platforms(
    *, machine: str, image: str, runs: bool
) -> None:
    assert parse_platform(machine).runs(parse_platform(image)) == runs


def test_the_closest_compatible_platform_is_chosen() -> None:
    machine = parse_platform("linux/arm64")
    offered = ["linux/arm/v6", "linux/arm64/v9", "linux/arm64/v8"]

    closest = min(offered, key=lambda name: machine.distance(parse_platform(name)))

    assert closest == "linux/arm64/v8"


def test_a_platform_is_formatted_as_it_was_parsed() -> None:
    for name in ("linux/amd64", "linux/arm/v7"):
        assert str(parse_platform(name)) == name
