"""Certificates for a server's Engine: written whole, marked, and never in place of others."""

import hashlib
import stat
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.faults import FAULTS, FaultCode
from worker.jobs import engine_certificates
from worker.jobs.engine_certificates import EngineCertificates, StoredCertificate, WrittenFiles
from worker.login import Login
from worker.registry_tls import RegistryTls

HOST = "registry.lan:5000"
WHOLE = RegistryTls(
    ca_certificate="a CA\n",
    client_certificate="a certificate\n",
    client_key=SecretStr("a key\n"),
    install_ca=True,
    registry_id="ours",
)


def login(tls: RegistryTls) -> Login:
    return Login(host=HOST, username="alice", secret=SecretStr("word"), tls=tls)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (directory / HOST).iterdir()}


async def test_all_files_are_stored_with_their_modes_and_marked(tmp_path: Path) -> None:
    await EngineCertificates(tmp_path).install(login(WHOLE))

    found = contents(tmp_path)
    assert sorted(found) == ["ca.crt", "client.cert", "client.key"]
    assert {name: text.partition("\n")[2] for name, text in found.items()} == {
        "ca.crt": "a CA\n",
        "client.cert": "a certificate\n",
        "client.key": "a key\n",
    }
    assert all(text.startswith("# Written by Wharfinger") for text in found.values())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / HOST).iterdir()}
    assert modes == {"ca.crt": 0o644, "client.cert": 0o644, "client.key": 0o600}


async def test_nothing_is_written_unless_the_registry_says_so(tmp_path: Path) -> None:
    certificates = EngineCertificates(tmp_path)

    await certificates.install(login(WHOLE.model_copy(update={"install_ca": False})))
    await certificates.install(login(WHOLE.model_copy(update={"registry_id": ""})))

    assert not (tmp_path / HOST).exists()


async def test_files_of_ours_are_replaced_and_removed(tmp_path: Path) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.install(login(WHOLE))

    ca = {"ca_certificate": "another CA\n", "client_certificate": "", "client_key": SecretStr("")}
    await certificates.install(login(WHOLE.model_copy(update=ca)))
    replaced = contents(tmp_path)
    other = {"install_ca": False, "registry_id": "another"}
    await certificates.install(login(WHOLE.model_copy(update=other)))
    kept = contents(tmp_path)
    await certificates.install(login(WHOLE.model_copy(update={"install_ca": False})))

    assert list(replaced) == ["ca.crt"] and "another CA" in replaced["ca.crt"]
    assert kept == replaced
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("change", ["theirs", "edited"])
async def test_files_of_others_stay_as_they_are(tmp_path: Path, change: str) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.install(login(WHOLE))
    file = tmp_path / HOST / "ca.crt"
    text = "by hand\n" if change == "theirs" else file.read_text() + "one more\n"
    file.write_text(text)

    changed = {"ca_certificate": "a new CA\n"}
    await certificates.install(login(WHOLE.model_copy(update=changed)))
    problem = certificates.problems[HOST]
    advice = certificates.advise(
        FAULTS[FaultCode.TLS_UNKNOWN_CA].remedy, FaultCode.TLS_UNKNOWN_CA, HOST, login(WHOLE)
    )
    await certificates.install(login(WHOLE.model_copy(update={"install_ca": False})))

    assert file.read_text() == text
    assert str(file) in problem and problem in advice


async def test_a_file_by_hand_with_the_same_ca_is_enough(tmp_path: Path) -> None:
    (tmp_path / HOST).mkdir()
    (tmp_path / HOST / "ca.crt").write_text("# ours\na CA\n")
    certificates = EngineCertificates(tmp_path)

    await certificates.install(login(WHOLE))

    assert certificates.problems == {}
    assert (tmp_path / HOST / "ca.crt").read_text() == "# ours\na CA\n"


async def test_a_directory_that_cannot_be_written_is_named_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "certs.d").write_text("no directory")
    certificates = EngineCertificates(tmp_path / "certs.d")

    await certificates.install(login(WHOLE))

    assert "ca.crt: " in certificates.problems[HOST]


@pytest.mark.parametrize(
    ("code", "tls", "words"),
    [
        (FaultCode.TLS_UNKNOWN_CA, RegistryTls(), "caCertificate"),
        (FaultCode.TLS_UNKNOWN_CA, WHOLE, "installCa"),
        (FaultCode.TLS_CLIENT_CERT, RegistryTls(), "clientCertificate"),
        (FaultCode.TLS_CLIENT_CERT, WHOLE, "client.key"),
    ],
)
def test_a_remedy_names_the_file_for_this_registry(
    code: FaultCode, tls: RegistryTls, words: str
) -> None:
    advice = EngineCertificates().advise(FAULTS[code].remedy, code, HOST, login(tls))

    assert f"/etc/docker/certs.d/{HOST}" in advice and "HOST" not in advice
    assert words in advice


def test_other_remedies_stay() -> None:
    certificates = EngineCertificates()

    assert certificates.advise("do this", FaultCode.TLS_UNKNOWN_CA, HOST, None) == "do this"
    code = FaultCode.PULL_DENIED
    assert certificates.advise(FAULTS[code].remedy, code, HOST, None) == FAULTS[code].remedy


# Files that no registry needs any more


async def test_files_are_found_again_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "certificates.json"
    await EngineCertificates(tmp_path, WrittenFiles.open(state)).install(login(WHOLE))

    found = await EngineCertificates(tmp_path, WrittenFiles.open(state)).find()

    assert sorted(each.file for each in found) == ["ca.crt", "client.cert", "client.key"]
    assert {(each.host, each.registry_id) for each in found} == {(HOST, "ours")}
    digest = hashlib.sha256(b"a certificate\n").hexdigest()
    assert [each.sha256 for each in found if each.file != "ca.crt"] == [digest, digest]


async def test_files_are_not_read_in_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.install(login(WHOLE))
    readers = []

    def read(path: Path) -> bytes:
        readers.append(threading.current_thread())
        return path.read_bytes()

    monkeypatch.setattr(engine_certificates, "_read", read)

    assert len(await certificates.find()) == 3
    assert readers
    assert threading.main_thread() not in readers


async def test_files_of_other_workers_and_lost_ones_are_not_found(tmp_path: Path) -> None:
    await EngineCertificates(tmp_path).install(login(WHOLE))
    lost = WrittenFiles(registries={"gone.lan/ca.crt": "ours", f"{HOST}/ca.crt": "theirs"})
    (tmp_path / "broken.json").write_text("{")

    found = [
        await EngineCertificates(tmp_path, written).find()
        for written in (WrittenFiles(), lost, WrittenFiles.open(tmp_path / "broken.json"))
    ]

    assert found == [[], [], []]


async def test_only_the_files_that_are_named_are_removed(tmp_path: Path) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.install(login(WHOLE))
    found = await certificates.find()

    await certificates.remove(each for each in found if each.file != "ca.crt")

    assert list(contents(tmp_path)) == ["ca.crt"]
    assert certificates.written.registries == {f"{HOST}/ca.crt": "ours"}


@pytest.mark.parametrize("change", ["edited", "another registry's", "gone", "unreadable"])
async def test_a_file_that_is_somebody_else_s_by_now_is_not_removed(
    tmp_path: Path, change: str
) -> None:
    certificates = EngineCertificates(tmp_path)
    only_ca = {"client_certificate": "", "client_key": SecretStr("")}
    ours = WHOLE.model_copy(update=only_ca)
    await certificates.install(login(ours))
    found = await certificates.find()
    file = tmp_path / HOST / "ca.crt"
    match change:
        case "edited":
            file.write_text(file.read_text() + "one more\n")
        case "another registry's":
            other = ours.model_copy(update={"registry_id": "another"})
            await EngineCertificates(tmp_path).install(login(other))
        case "gone":
            file.unlink()
        case _:
            file.unlink()
            file.mkdir()
    before = file.read_text() if file.is_file() else None

    await certificates.remove(found)

    assert (file.read_text() if file.is_file() else None) == before


async def test_a_file_that_a_job_stored_again_meanwhile_stays(tmp_path: Path) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.install(login(WHOLE))
    found = await certificates.find()
    await certificates.install(login(WHOLE))

    await certificates.remove(found)
    kept = contents(tmp_path)
    await certificates.remove(await certificates.find())

    assert sorted(kept) == ["ca.crt", "client.cert", "client.key"]
    assert contents(tmp_path) == {}


async def test_a_file_that_was_never_found_is_not_removed(tmp_path: Path) -> None:
    certificates = EngineCertificates(tmp_path)
    await certificates.find()
    await certificates.install(login(WHOLE))
    forged = StoredCertificate(registry_id="ours", host=HOST, file="ca.crt", sha256="")

    await certificates.remove([forged])

    assert "ca.crt" in contents(tmp_path)
