import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme

from shared.errors import SetupError
from worker.local.processes import is_listening
from worker.local.registry import LocalRegistry, TokenRealm

ROUNDS = 4
INDEX = "application/vnd.oci.image.index.v1+json"
AS_INDEX = {"Content-Type": INDEX, "Accept": INDEX}
DIGEST = "Docker-Content-Digest"
PRIVATE = ("config.yml", "htpasswd")


@contextmanager
def running(registry: LocalRegistry) -> Iterator[LocalRegistry]:
    try:
        yield registry
    finally:
        registry.stop()


@pytest.fixture(autouse=True)
def program() -> None:
    if shutil.which("docker-registry"):
        return
    if os.environ.get("CI"):
        pytest.fail("there is no docker-registry here")
    pytest.skip("NO REAL REGISTRY IS TESTED: there is no docker-registry here")


def test_only_its_users_are_let_in(tmp_path: Path) -> None:
    started = LocalRegistry.start(tmp_path, users={"alice": "pä$$ word"}, bcrypt_rounds=ROUNDS)

    with running(started) as registry:
        url = f"http://{registry.host}/v2/"
        assert httpx2.get(url).status_code == 401
        assert httpx2.get(url, auth=("alice", "wrong")).status_code == 401
        assert httpx2.get(url, auth=("alice", "pä$$ word")).status_code == 200


def test_no_users_at_all_let_nobody_in_and_none_named_let_everybody_in(tmp_path: Path) -> None:
    with running(LocalRegistry.start(tmp_path / "none", users={})) as locked:
        assert httpx2.get(f"http://{locked.host}/v2/").status_code == 401
    with running(LocalRegistry.start(tmp_path / "open")) as registry:
        assert httpx2.get(f"http://{registry.host}/v2/").status_code == 200


def test_a_token_server_is_named_to_whoever_comes(tmp_path: Path) -> None:
    certificate = tmp_path / "tokens.pem"
    trustme.CA().cert_pem.write_to_path(str(certificate))
    realm = TokenRealm("http://127.0.0.1:9/token", "registry", "tokens", certificate)

    with running(LocalRegistry.start(tmp_path / "data", token_realm=realm)) as registry:
        answer = httpx2.get(f"http://{registry.host}/v2/")

    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="http://127.0.0.1:9/token"')


def test_stored_images_outlive_the_registry(tmp_path: Path) -> None:
    manifest = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    with running(LocalRegistry.start(tmp_path)) as first:
        path = "/v2/team/app/manifests/1"
        put = httpx2.put(f"http://{first.host}{path}", json=manifest, headers=AS_INDEX)
        assert put.status_code == 201
    assert not is_listening(first.address, first.port)

    with running(LocalRegistry.start(tmp_path, port=first.port)) as second:
        got = httpx2.get(f"http://{second.host}{path}", headers=AS_INDEX)
        gone = httpx2.delete(f"http://{second.host}/v2/team/app/manifests/{got.headers[DIGEST]}")

    assert got.status_code == 200 and gone.status_code == 202


def test_a_port_of_another_program_is_not_taken_for_ours(tmp_path: Path) -> None:
    with (
        running(LocalRegistry.start(tmp_path / "first")) as first,
        pytest.raises(SetupError, match="ended at its start"),
    ):
        LocalRegistry.start(tmp_path / "second", port=first.port)


def test_its_files_are_for_us_alone(tmp_path: Path) -> None:
    with running(LocalRegistry.start(tmp_path, users={"a": "b"}, bcrypt_rounds=ROUNDS)):
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in PRIVATE}

    assert set(modes.values()) == {0o600}
    assert "$2b$04$" in (tmp_path / "htpasswd").read_text()


@pytest.mark.parametrize(
    ("name", "password"),
    [("a:b", "x"), ("", "x"), ("a\nb", "x"), ("a", "x" * 73), ("a", "x\0y")],
)
def test_a_password_that_htpasswd_cannot_hold_is_refused(
    name: str, password: str, tmp_path: Path
) -> None:
    with pytest.raises(SetupError) as caught:
        LocalRegistry.start(tmp_path, users={name: password}, bcrypt_rounds=ROUNDS)

    assert password not in str(caught.value) or password == "x"


def test_a_missing_certificate_is_reported(tmp_path: Path) -> None:
    nothing = tmp_path / "missing.crt"

    with pytest.raises(SetupError, match=r"missing\.crt"):
        LocalRegistry.start(tmp_path / "data", certificate=(nothing, nothing))
