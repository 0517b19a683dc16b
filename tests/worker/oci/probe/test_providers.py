"""The test of a registry at the fakes of providers: causes and remedies in the provider's terms."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import RegistryError
from shared.faults import Fault
from shared.jobs.diagnosis import ProbeReport, Stage
from shared.reference import Reference, parse_registry
from tests.fakes.certificates import Authority
from tests.fakes.providers.acr import NOBODY, Acr
from tests.fakes.providers.clients import find_address, make_client_settings
from tests.fakes.providers.cloud import Cloud, open_clouds
from tests.fakes.providers.ghcr import AccessToken, Ghcr
from tests.fakes.providers.google import Google
from tests.fakes.providers.hub import Account, Hub, Limit
from tests.worker.engine.parts import require_real_parts
from tests.worker.oci.parts import stage
from worker.local.registry import LocalRegistry
from worker.login import Login
from worker.oci.probe import ProbeRequest, probe
from worker.oci.registry.client import RegistryClient
from worker.oci.registry.manifests import describe

pytestmark = pytest.mark.real_parts


@pytest.fixture
def behind(open_registry: LocalRegistry) -> str:
    require_real_parts()  # the providers' hosts listen on port 443
    return open_registry.host


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "certs.d"


async def run(
    cloud: Cloud,
    authority: Authority,
    directory: Path,
    *,
    url: str,
    login: tuple[str, str] | None,
    prefix: str | None,
) -> ProbeReport:
    """Test a registry as a server does; the report contains no password."""
    given = None
    if login is not None:
        given = Login(host=url, username=login[0], secret=SecretStr(login[1]))
    async with open_clouds(cloud, authority=authority, listen=find_address(6)):
        settings = make_client_settings(cloud, authority=authority, directory=directory)
        report = await probe(ProbeRequest(url, given, image_prefix=prefix), settings)
    assert login is None or login[1] not in report.model_dump_json()
    return report


def fault_of(report: ProbeReport) -> Fault:
    fault = report.fault()
    assert fault is not None
    return fault


async def test_a_repository_of_gcr_io_that_is_missing_is_explained(
    behind: str, authority: Authority, directory: Path
) -> None:
    cloud = Google(behind, repositories=set())
    token = cloud.access.issue("wharf")

    report = await run(
        cloud,
        authority,
        directory,
        url="gcr.io",
        login=("oauth2accesstoken", token),
        prefix="my-project/",
    )

    fault = fault_of(report)
    assert (fault.code, fault.stage) == ("repo_missing", Stage.PUSH)
    assert "roles/artifactregistry.createOnPushWriter" in fault.remedy


@pytest.mark.parametrize("is_abac", [False, True])
async def test_a_role_that_is_not_honoured_is_explained(
    behind: str, authority: Authority, directory: Path, *, is_abac: bool
) -> None:
    cloud = Acr(behind, role="AcrPush", is_abac=is_abac)
    token = cloud.refreshes.issue("principal")

    report = await run(
        cloud,
        authority,
        directory,
        url=cloud.host,
        login=(NOBODY, token),
        prefix=None,
    )

    if not is_abac:
        assert report.fault() is None
        return
    fault = fault_of(report)
    assert fault.code in {"pull_denied", "push_denied"}
    assert "ABAC" in fault.remedy and "Container Registry Repository" in fault.remedy


async def test_a_token_of_github_without_the_scope_is_told_by_the_upload(
    behind: str, authority: Authority, directory: Path
) -> None:
    cloud = Ghcr(behind, token=AccessToken(scopes=frozenset({"read:packages"})))

    report = await run(
        cloud,
        authority,
        directory,
        url="ghcr.io",
        login=(cloud.username, cloud.token.value),
        prefix="ghcr.io/myorg/",
    )

    fault = fault_of(report)
    assert (fault.code, fault.stage) == ("push_denied", Stage.PUSH)
    assert "write:packages" in fault.remedy


async def test_a_token_that_is_not_authorised_for_an_organization_with_sso_is_told(
    behind: str, authority: Authority, directory: Path
) -> None:
    cloud = Ghcr(behind, sso=frozenset({"myorg"}))

    report = await run(
        cloud,
        authority,
        directory,
        url="ghcr.io",
        login=(cloud.username, cloud.token.value),
        prefix="myorg",
    )

    fault = fault_of(report)
    assert fault.code in {"pull_denied", "push_denied"}
    assert "SAML single sign-on" in fault.remedy


async def test_a_wrong_token_of_github_is_a_wrong_login_and_is_sent_once(
    behind: str, authority: Authority, directory: Path
) -> None:
    cloud = Ghcr(behind)

    report = await run(
        cloud,
        authority,
        directory,
        url="ghcr.io",
        login=(cloud.username, "ghp_revoked"),
        prefix="myorg",
    )

    fault = fault_of(report)
    assert (fault.code, fault.stage) == ("auth_bad_credentials", Stage.AUTH)
    assert "classic personal access token" in fault.remedy
    assert len(cloud.logins) == 1


async def test_a_private_package_of_github_asks_for_a_login(
    behind: str, authority: Authority, directory: Path
) -> None:
    report = await run(
        Ghcr(behind), authority, directory, url="ghcr.io", login=None, prefix="myorg"
    )

    assert fault_of(report).code == "auth_missing"


async def test_a_read_only_token_of_docker_hub_is_told_by_its_scopes(
    behind: str, authority: Authority, directory: Path
) -> None:
    account = Account("dckr_pat_x", frozenset({"mycompany"}), frozenset({"pull"}))
    cloud = Hub(behind, accounts={"dockerhubuser": account})

    report = await run(
        cloud,
        authority,
        directory,
        url="docker.io",
        login=("dockerhubuser", "dckr_pat_x"),
        prefix="mycompany/",
    )

    fault = fault_of(report)
    assert (fault.code, fault.stage) == ("push_denied", Stage.PUSH)
    assert "Read & Write" in fault.remedy


async def test_the_pulls_that_are_left_at_docker_hub_are_shown_with_their_window(
    behind: str, authority: Authority, directory: Path
) -> None:
    cloud = Hub(behind, limit=Limit(100, used=24))

    report = await run(
        cloud,
        authority,
        directory,
        url="docker.io",
        login=("dockerhubuser", "dockerhub-token"),
        prefix="mycompany/",
    )

    assert report.fault() is None
    assert "76 of 100 pulls in 1 h are left" in stage(report, Stage.PULL).evidence
    assert cloud.limit.used == 24


@pytest.mark.parametrize(
    ("limit", "abuse", "evidence"),
    [
        (Limit(100, used=100), 0, "HTTP 429, 0 of 100 pulls in 1 h are left"),
        (Limit(100, timedelta(hours=6), 101), 0, "0 of 100 pulls in 6 h are left"),
        (Limit(), 9, "HTTP 429"),
    ],
)
async def test_a_pull_beyond_the_limit_of_docker_hub_is_told_with_its_window(
    behind: str, authority: Authority, directory: Path, *, limit: Limit, abuse: int, evidence: str
) -> None:
    cloud = Hub(behind, limit=limit)
    image = Reference("docker.io", "mycompany/app", "1")
    login = Login(host="docker.io", username="dockerhubuser", secret=SecretStr("dockerhub-token"))
    async with open_clouds(cloud, authority=authority, listen=find_address(6)):
        settings = make_client_settings(cloud, authority=authority, directory=directory)
        async with RegistryClient(parse_registry("docker.io"), login, settings) as client:
            await client.ping()
            cloud.abuse = abuse
            with pytest.raises(RegistryError) as raised:
                await describe(client, image.repository, image.target)

    error = raised.value
    assert (error.code, error.retryable) == ("rate_limited", True)
    assert error.evidence.endswith(evidence)
