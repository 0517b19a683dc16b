"""The scripts of others that the console sends are the ones of npm, byte for byte."""

import json
from importlib.resources import files
from pathlib import Path

VENDOR = files("api.console").joinpath("static", "vendor")
RECORD = "vendor.json"


def test_vendored_files_are_those_of_the_locked_packages(node_modules: Path) -> None:
    recorded = json.loads(VENDOR.joinpath(RECORD).read_text())
    lock = json.loads((node_modules / "package-lock.json").read_text())["packages"]
    present = {entry.name for entry in VENDOR.iterdir()} - {RECORD}

    for name, package in recorded.items():
        locked = lock[f"node_modules/{name}"]
        assert (locked["version"], locked["license"]) == (package["version"], package["licence"])
        assert locked["integrity"] == package["integrity"]
        for file, path in package["files"].items():
            whole = (node_modules / "node_modules" / name / path).read_bytes()
            assert VENDOR.joinpath(file).read_bytes() == whole, file
    assert present == {file for package in recorded.values() for file in package["files"]}
