"""The providers of the conformance suite: one case for each kind of source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from aiohttp import web

from shared.credentials.acr import AcrSource
from shared.credentials.ecr import EcrSource
from shared.credentials.google import GoogleSource
from shared.credentials.kinds import AnySource
from tests.fakes import ecr
from tests.fakes.providers import acr
from tests.fakes.providers.google import Google, ServiceAccount
from tests.fakes.web import Answer

LIFE = timedelta(hours=2)


@dataclass(frozen=True)
class Case:
    """A provider that serves ``hosts``, and what it is asked for.

    ``refused`` is a source that it does not accept, ``denied`` one without the permission.
    ``secrets`` may stand in no error. ``fail`` makes it answer something else; ``turn_clock`` sets
    how far its clock is ahead; ``accepts`` tells whether a password opens the registry.
    """

    kind: str
    host: str
    hosts: Mapping[str, Answer]
    source: AnySource
    refused: AnySource
    denied: AnySource
    secrets: tuple[str, ...]
    fail: Callable[[Callable[[], web.Response]], None]
    turn_clock: Callable[[timedelta], None]
    accepts: Callable[[str], bool]


@dataclass
class _Ecr:
    aws: ecr.Aws = field(default_factory=lambda: ecr.Aws(life=LIFE))

    def fail(self, failure: Callable[[], web.Response]) -> None:
        self.aws.failure = failure

    def turn_clock(self, ahead: timedelta) -> None:
        self.aws.ahead = ahead


def make_ecr_case() -> Case:
    provider = _Ecr()
    denied_id, denied_secret = "AKIADENIEDEXAMPLE000", "denied/secret/of/a/user/without/rights"
    provider.aws.keys[denied_id] = ecr.Key(denied_secret, may_login=False)
    wrong = "wrong/secret/wrong/secret/wrong/secret/1"
    return Case(
        "ecr",
        ecr.HOST,
        {ecr.API: provider.aws.api, ecr.STS: provider.aws.sts},
        source=_ecr_source(ecr.KEY_ID, ecr.SECRET),
        refused=_ecr_source(ecr.KEY_ID, wrong),
        denied=_ecr_source(denied_id, denied_secret),
        secrets=(ecr.SECRET, denied_secret, wrong),
        fail=provider.fail,
        turn_clock=provider.turn_clock,
        accepts=lambda password: password in provider.aws.tokens,
    )


def _ecr_source(key_id: str, secret: str) -> EcrSource:
    return EcrSource.model_validate(
        {"kind": "ecr", "accessKeyId": key_id, "secretAccessKey": secret}
    )


def make_google_case() -> Case:
    cloud = Google()
    cloud.access.life = LIFE
    stranger, blocked = (
        ServiceAccount(),
        ServiceAccount("blocked@my-project.iam.gserviceaccount.com"),
    )
    cloud.blocked = blocked.email
    accounts = (cloud.account, stranger, blocked)
    return Case(
        "google",
        "gcr.io",
        dict.fromkeys(cloud.hosts(), cloud.answer),
        source=_google_source(cloud.account),
        refused=_google_source(stranger),
        denied=_google_source(blocked),
        secrets=tuple(account.file["private_key"].splitlines()[3] for account in accounts),
        fail=partial(setattr, cloud, "failure"),
        turn_clock=partial(setattr, cloud.clock, "offset"),
        accepts=lambda password: cloud.access.find(password) is not None,
    )


def _google_source(account: ServiceAccount) -> GoogleSource:
    return GoogleSource.model_validate({"kind": "google", "serviceAccountKey": account.text})


def make_acr_case() -> Case:
    cloud = acr.Acr()
    cloud.refreshes.life = LIFE
    wrong = "wrong~secret-98765"
    return Case(
        "acr",
        cloud.host,
        dict.fromkeys(cloud.hosts(), cloud.answer),
        source=_acr_source(acr.CLIENT, cloud.secret),
        refused=_acr_source(acr.CLIENT, wrong),
        denied=_acr_source(*cloud.without_role),
        secrets=(cloud.secret, wrong, cloud.without_role[1]),
        fail=partial(setattr, cloud, "failure"),
        turn_clock=partial(setattr, cloud.clock, "offset"),
        accepts=lambda password: cloud.refreshes.find(password) is not None,
    )


def _acr_source(client_id: str, secret: str) -> AcrSource:
    return AcrSource.model_validate(
        {
            "kind": "acr",
            "tenantId": acr.TENANT,
            "clientId": client_id,
            "clientSecret": secret,
        }
    )


CASES = {"acr": make_acr_case, "ecr": make_ecr_case, "google": make_google_case}
