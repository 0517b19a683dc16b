"""The providers' fakes, each with a right login and one that is refused."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from shared.credentials.acr import AcrSource
from shared.credentials.ecr import EcrSource
from shared.credentials.google import GoogleSource
from shared.credentials.kinds import AnySource
from shared.reference import parse_registry
from tests.fakes import ecr
from tests.fakes.certificates import Authority
from tests.fakes.names import Names
from tests.fakes.providers.acr import CLIENT, TENANT, Acr
from tests.fakes.providers.clients import LIMIT, find_address, make_client_settings
from tests.fakes.providers.cloud import Clock, Cloud, Serve, names, open_clouds
from tests.fakes.providers.ghcr import Ghcr
from tests.fakes.providers.google import Google, ServiceAccount
from tests.fakes.providers.hub import Hub
from worker.control.providers.aws.machine import MachineIdentity
from worker.control.providers.mint import Mint
from worker.control.providers.provider import HttpClient, Minted
from worker.login import Login
from worker.oci.auth.scope import PUSH, Scope
from worker.oci.registry.authentication import authenticate
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.uploads import Uploads
from worker.oci.transport.settings import ConnectionSettings, Deadlines

LogIn = Callable[["Case", bool], Awaitable[Login]]


@dataclass
class Case:
    """A provider's fake; ``log_in`` returns a login, by a right credential or by a refused one.

    ``secrets`` are the long-lived credentials, which no message may show. ``lives`` are the tokens
    whose life a test shortens.
    """

    cloud: Cloud
    host: str
    repository: str
    settings: ConnectionSettings
    find_login: LogIn
    secrets: tuple[str, ...]
    set_life: Callable[[timedelta], None]
    expire: Callable[[], None]
    limit: timedelta = LIMIT

    @property
    def client(self) -> HttpClient:
        return HttpClient(self.settings, self.limit)

    def limit_to(self, limit: timedelta) -> None:
        """Let each exchange end after this time."""
        self.limit = limit
        deadlines = Deadlines(response=limit, tcp=LIMIT, tls=LIMIT)
        self.settings = replace(self.settings, deadlines=deadlines)

    async def log_in(self, *, is_right: bool = True) -> Login:
        return await self.find_login(self, is_right)

    async def start_push(self, login: Login) -> None:
        """Start an upload at the registry with a login."""
        host = parse_registry(self.host)
        async with RegistryClient(host, login, self.settings) as client:
            await client.ping()
            await authenticate(client, Scope(self.repository, PUSH))
            await Uploads(client, self.repository).start()

    def go_down(self) -> None:
        """Let the hosts that issue tokens refuse every connection."""
        down = self.cloud.token_hosts or self.cloud.hosts()
        table = names(self.cloud) | dict.fromkeys(down, ("127.255.255.1",))
        self.settings = replace(self.settings, resolver=Names(table))


def minting(right: AnySource, refused: AnySource, host: str) -> LogIn:
    async def log_in(case: Case, is_right: bool) -> Login:  # noqa: FBT001 - one of two
        source = right if is_right else refused
        minted = await mint(source, host, case.client)
        return Login(host=host, username=source.USERNAME, secret=minted.password)

    return log_in


async def mint(
    source: AnySource, host: str, client: HttpClient, *, allows_machine: bool = True
) -> Minted:
    """Get a login as control does, with or without its machine's own tokens."""
    machine = MachineIdentity(is_allowed=allows_machine)
    return await Mint(client, machine).mint(source, host, datetime.now(UTC))


def static(host: str, username: str, password: str) -> LogIn:
    async def log_in(_case: Case, is_right: bool) -> Login:  # noqa: FBT001 - one of two
        secret = password if is_right else f"{password}-old"
        return Login(host=host, username=username, secret=SecretStr(secret))

    return log_in


@asynccontextmanager
async def open_google(registry: str, authority: Authority, directory: Path) -> AsyncIterator[Case]:
    cloud = Google(registry)
    right = google_source(cloud.account)
    refused = google_source(ServiceAccount())

    def set_life(life: timedelta) -> None:
        cloud.access.life = life

    async with open_clouds(cloud, authority=authority, listen=find_address(1)):
        yield Case(
            cloud,
            "gcr.io",
            "my-project/app",
            make_client_settings(cloud, authority=authority, directory=directory),
            minting(right, refused, "gcr.io"),
            (cloud.account.file["private_key"].splitlines()[3],),
            set_life,
            cloud.expire,
        )


def google_source(account: ServiceAccount) -> GoogleSource:
    return GoogleSource(kind="google", service_account_key=SecretStr(account.text))


@asynccontextmanager
async def open_acr(registry: str, authority: Authority, directory: Path) -> AsyncIterator[Case]:
    cloud = Acr(registry)
    right = acr_source(cloud.secret)

    def set_life(life: timedelta) -> None:
        cloud.refreshes.life = life

    async with open_clouds(cloud, authority=authority, listen=find_address(2)):
        yield Case(
            cloud,
            cloud.host,
            "app",
            make_client_settings(cloud, authority=authority, directory=directory),
            minting(right, acr_source("another~secret-98765"), cloud.host),
            (cloud.secret,),
            set_life,
            cloud.expire,
        )


def acr_source(secret: str) -> AcrSource:
    return AcrSource(
        kind="acr", tenant_id=TENANT, client_id=CLIENT, client_secret=SecretStr(secret)
    )


@asynccontextmanager
async def open_hub(registry: str, authority: Authority, directory: Path) -> AsyncIterator[Case]:
    cloud = Hub(registry)

    def set_life(life: timedelta) -> None:
        cloud.access.life = life

    async with open_clouds(cloud, authority=authority, listen=find_address(3)):
        yield Case(
            cloud,
            "docker.io",
            "mycompany/app",
            make_client_settings(cloud, authority=authority, directory=directory),
            static("docker.io", "dockerhubuser", "dockerhub-token"),
            ("dockerhub-token",),
            set_life,
            cloud.expire,
        )


@asynccontextmanager
async def open_ghcr(registry: str, authority: Authority, directory: Path) -> AsyncIterator[Case]:
    cloud = Ghcr(registry)

    def set_life(life: timedelta) -> None:
        cloud.access.life = life

    async with open_clouds(cloud, authority=authority, listen=find_address(4)):
        yield Case(
            cloud,
            "ghcr.io",
            "myorg/app",
            make_client_settings(cloud, authority=authority, directory=directory),
            static("ghcr.io", cloud.username, cloud.token.value),
            (cloud.token.value,),
            set_life,
            cloud.expire,
        )


class _Aws(ecr.Aws):
    """AWS by the clock of a `Cloud`."""

    clock: Clock

    def now(self) -> datetime:
        return self.clock.now()


class _Ecr(Cloud):
    """AWS's API and a registry of it, as one provider."""

    aws: _Aws

    def hosts(self) -> Mapping[str, Serve]:
        return {ecr.API: self.aws.api, ecr.HOST: self.aws.distribution}


@asynccontextmanager
async def open_ecr(registry: str, authority: Authority, directory: Path) -> AsyncIterator[Case]:
    cloud = _Ecr(registry, token_hosts=frozenset({ecr.API}))
    cloud.aws = _Aws(registry)
    cloud.aws.clock = cloud.clock
    wrong = "wrong/secret/wrong/secret/wrong/secret/1"
    async with open_clouds(cloud, authority=authority, listen=find_address(7)):
        yield Case(
            cloud,
            ecr.HOST,
            "app",
            make_client_settings(cloud, authority=authority, directory=directory),
            minting(ecr_source(ecr.SECRET), ecr_source(wrong), ecr.HOST),
            (ecr.SECRET, wrong),
            partial(setattr, cloud.aws, "life"),
            cloud.aws.tokens.clear,
        )
        await cloud.aws.close()


def ecr_source(secret: str) -> EcrSource:
    return EcrSource(kind="ecr", access_key_id=ecr.KEY_ID, secret_access_key=SecretStr(secret))


CASES = {
    "google": open_google,
    "acr": open_acr,
    "ecr": open_ecr,
    "hub": open_hub,
    "ghcr": open_ghcr,
}
