"""The files of a build, as BuildKit gets them in a session."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from worker.engine.builds.files import PIECE_BYTES, BuildFiles, Entry, Sending, list_entries
from worker.engine.builds.grpc import CallError, Status
from worker.engine.builds.protobuf import (
    read_bytes,
    read_messages,
    read_number,
    read_text,
    write_bytes,
    write_number,
)

REQUEST, DATA, END, ERROR = 1, 2, 3, 4
GO_DIRECTORY, GO_SYMLINK, GO_SET_UID = 1 << 31, 1 << 27, 1 << 23


def pack(path: Path, members: Sequence[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for header, content in members:
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def member(
    name: str,
    content: bytes = b"",
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    link: str = "",
) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.linkname, header.mtime = kind, mode, link, 7
    return header, content


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(
        tmp_path / "context.tar",
        [
            member("b", kind=tarfile.DIRTYPE, mode=0o1777),
            member("b/program", b"run", mode=0o4755),
            member("b-c", b"before its neighbour's content"),
            member("deep/er/file", b"implied"),
            member("Dockerfile", b"first"),
            member("same", kind=tarfile.LNKTYPE, link="b/program"),
            member("link", kind=tarfile.SYMTYPE, link="b/program"),
            member("Dockerfile", b"changed"),
        ],
    )


def content_of(archive: Path, entry: Entry) -> bytes:
    return archive.read_bytes()[entry.offset : entry.offset + entry.size]


def test_directories_come_before_their_content_and_names_are_in_order(archive: Path) -> None:
    entries = list_entries(archive)

    found = [entry.path for entry in entries]
    assert found == [
        *("Dockerfile", "b", "b/program", "b-c"),
        *("deep", "deep/er", "deep/er/file", "link", "same"),
    ]


def test_an_entry_has_the_mode_of_go_the_time_and_the_content(archive: Path) -> None:
    entries = {entry.path: entry for entry in list_entries(archive)}

    assert entries["b"].mode == GO_DIRECTORY | 1 << 20 | 0o777
    assert entries["b/program"].mode == GO_SET_UID | 0o755
    assert entries["deep"].mode == GO_DIRECTORY | 0o755
    assert (entries["link"].mode, entries["link"].link) == (GO_SYMLINK | 0o644, "b/program")
    assert (entries["same"].link, entries["same"].size) == ("b/program", 0)
    assert entries["b-c"].modified == 7
    assert content_of(archive, entries["deep/er/file"]) == b"implied"


def test_the_first_file_of_a_name_is_listed(archive: Path) -> None:
    [dockerfile] = [entry for entry in list_entries(archive) if entry.path == "Dockerfile"]

    assert content_of(archive, dockerfile) == b"first"


def test_a_hidden_file_and_its_implied_directory_are_not_listed(archive: Path) -> None:
    found = {entry.path: entry for entry in list_entries(archive, frozenset({"deep/er/file"}))}

    assert {"deep", "deep/er", "deep/er/file"}.isdisjoint(found)


def test_a_link_to_a_hidden_file_has_its_content(archive: Path) -> None:
    found = {entry.path: entry for entry in list_entries(archive, frozenset({"b/program"}))}

    assert (found["same"].link, content_of(archive, found["same"])) == ("", b"run")


def test_an_entry_is_encoded_as_fsutil_reads_it() -> None:
    encoded = Entry("a/b", GO_SYMLINK | 0o777, 3, 7, "there").encode()

    assert (read_text(encoded, 1), read_text(encoded, 7)) == ("a/b", "there")
    assert read_number(encoded, 2) == GO_SYMLINK | 0o777
    assert (read_number(encoded, 5), read_number(encoded, 6)) == (3, 7 * 10**9)


def receive_all(sending: Sending) -> dict[str, bytes]:
    """Ask for all regular files as BuildKit does; return their contents."""
    packets = sending.send()
    paths = list[str]()
    contents = dict[str, bytes]()
    while stats := [value for number, value in read_messages(take(packets)) if number == 2]:
        path, mode = read_text(stats[0], 1), read_number(stats[0], 2)
        if not (mode & (GO_DIRECTORY | GO_SYMLINK) or read_text(stats[0], 7)):
            sending.receive(write_number(1, REQUEST) + write_number(3, len(paths)))
            contents[path] = b""
        paths.append(path)
    for path in contents:
        while piece := take(packets):
            assert read_number(piece, 1) == DATA
            assert paths[read_number(piece, 3)] == path
            data = read_bytes(piece, 4)
            assert len(data) <= PIECE_BYTES
            if not data:
                break
            contents[path] += data
    assert next(packets) is None
    sending.receive(write_number(1, END))
    assert take(packets) == write_number(1, END)
    assert list(packets) == []
    return contents


def take(packets: Iterator[bytes | None]) -> bytes:
    packet = next(packets)
    assert packet is not None
    return packet


def test_each_content_is_sent_when_it_is_requested(tmp_path: Path) -> None:
    large = bytes(range(256)) * 1000
    files = {"empty": b"", "large": large, "small": b"1"}
    archive = pack(tmp_path / "c.tar", [member(name, files[name]) for name in files])
    sent = BuildFiles(archive, b"FROM x").open_exchange("Dockerfile", {"dir-name": ["context"]})

    assert receive_all(sent) == files


def test_the_dockerfile_is_alone_in_its_directory(archive: Path) -> None:
    files = BuildFiles(archive, b"FROM pinned")

    assert receive_all(files.open_exchange("a.Dockerfile", {"dir-name": ["dockerfile"]})) == {
        "a.Dockerfile": b"FROM pinned"
    }


def test_patterns_are_not_applied_twice(archive: Path) -> None:
    asked = {"dir-name": ["context"], "followpaths": [".dockerignore"]}

    assert receive_all(BuildFiles(archive, b"").open_exchange("Dockerfile", asked)) == {}


@pytest.mark.parametrize("metadata", [{}, {"dir-name": ["/etc"]}])
def test_no_other_directory_is_offered(archive: Path, metadata: dict[str, list[str]]) -> None:
    with pytest.raises(CallError) as caught:
        BuildFiles(archive, b"").open_exchange("Dockerfile", metadata)

    assert caught.value.status == Status.NOT_FOUND


def test_a_file_that_was_not_listed_is_refused(archive: Path) -> None:
    sending = BuildFiles(archive, b"").open_exchange("Dockerfile", {"dir-name": ["context"]})
    packets = sending.send()
    while take(packets):
        pass
    sending.receive(write_number(1, REQUEST) + write_number(3, 99))

    with pytest.raises(CallError, match="99"):
        next(packets)


def test_an_error_of_the_builder_ends_the_call(archive: Path) -> None:
    sending = BuildFiles(archive, b"").open_exchange("Dockerfile", {"dir-name": ["context"]})

    with pytest.raises(CallError, match="no space"):
        sending.receive(write_number(1, ERROR) + write_bytes(4, b"no space left"))
