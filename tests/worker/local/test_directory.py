import stat
from pathlib import Path

import pytest

from shared.errors import SetupError
from worker.local.directory import PrivateDirectory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_and_its_files_are_for_us_alone(directory: Path) -> None:
    private = PrivateDirectory.open(directory)
    private.passwords(["somebody"])
    private.write("settings", "text")
    private.close()

    assert mode(directory) == 0o700
    assert {mode(file) for file in directory.iterdir()} == {0o600}


def test_directories_made_on_the_way_are_private_too(tmp_path: Path) -> None:
    PrivateDirectory.open(tmp_path / "new" / "server").close()

    assert mode(tmp_path / "new") == 0o700


@pytest.mark.parametrize("permissions", [0o700, 0o711, 0o755])
def test_a_directory_above_keeps_its_permissions(tmp_path: Path, permissions: int) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(permissions)

    PrivateDirectory.open(above / "server").close()

    assert mode(above) == permissions


def test_an_open_directory_of_ours_is_closed_to_others(directory: Path) -> None:
    directory.mkdir(mode=0o755)

    PrivateDirectory.open(directory).close()

    assert mode(directory) == 0o700


def test_passwords_are_found_again(directory: Path) -> None:
    first = PrivateDirectory.open(directory)
    known = first.passwords(["a", "b"])
    first.close()

    second = PrivateDirectory.open(directory)
    found = second.passwords(["b", "c"])
    second.close()

    assert found["b"] == known["b"]
    assert len({*known.values(), *found.values()}) == 3


def test_only_one_process_has_a_directory(directory: Path) -> None:
    first = PrivateDirectory.open(directory)

    with pytest.raises(SetupError, match="in use by another process"):
        PrivateDirectory.open(directory)

    first.close()
    PrivateDirectory.open(directory).close()


def test_a_directory_that_cannot_be_made_is_a_set_up_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SetupError, match="cannot use"):
        PrivateDirectory.open(tmp_path / "file" / "server")
