"""Real registries, a CA, a token server, and settings under which tests may connect to loopback."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority
from tests.fakes.token_server import SigningKey, TokenServer, open_token_server
from tests.worker.oci.parts import PASSWORDS, ROUNDS, RegistryFactory, make_settings
from worker.local.namespaces import Namespace
from worker.local.registry import LocalRegistry
from worker.oci.transport.settings import ConnectionSettings


@pytest.fixture
def settings() -> ConnectionSettings:
    return make_settings()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def distribution() -> None:
    """Require the real registry program: skip without it on a desktop, fail in CI."""
    if shutil.which("docker-registry"):
        return
    if os.environ.get("CI"):
        pytest.fail("there is no docker-registry here")
    pytest.skip("NO REAL REGISTRY IS TESTED: there is no docker-registry here")


@pytest.fixture(scope="session")
def basic_registry(
    distribution: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalRegistry]:
    """A registry with htpasswd, over plain HTTP on loopback."""
    directory = tmp_path_factory.mktemp("basic")
    registry = LocalRegistry.start(directory, users=PASSWORDS, bcrypt_rounds=ROUNDS)
    yield registry
    registry.stop()


@pytest.fixture(scope="session")
def open_registry(
    distribution: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalRegistry]:
    """A registry that asks for no password."""
    registry = LocalRegistry.start(tmp_path_factory.mktemp("open"))
    yield registry
    registry.stop()


@pytest.fixture
def registries(distribution: None, tmp_path: Path) -> Iterator[RegistryFactory]:
    """Registries that belong to one test."""
    mine = RegistryFactory(tmp_path / "registries")
    yield mine
    mine.stop()


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    return SigningKey()


@pytest.fixture
async def token_server(signing_key: SigningKey) -> AsyncIterator[TokenServer]:
    async with open_token_server(signing_key, PASSWORDS) as server:
        yield server


@pytest.fixture
def token_registry(registries: RegistryFactory, token_server: TokenServer) -> LocalRegistry:
    """A real registry that trusts ``token_server``."""
    return registries.start_with_tokens(token_server)


@pytest.fixture(scope="session")
def network() -> Iterator[Namespace]:
    """A network namespace, for addresses that are not loopback."""
    if os.geteuid() or shutil.which("ip") is None:
        if os.environ.get("CI"):
            pytest.fail("network namespaces need root and ip")
        pytest.skip("NOTHING BUT LOOPBACK IS TESTED: network namespaces need root and ip")
    created = Namespace.create("oci-tests")
    yield created
    created.remove()
