"""Signatures that control makes and a server stores; pulls that are held to a policy."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import SignatureSign, SignatureVerify
from shared.jobs.results import SignatureResult, SignResult
from shared.reference import parse_reference
from shared.signatures.keys import SigningKey
from shared.signatures.policy import Mode, SignaturePolicy
from tests.worker.oci.parts import RegistryFactory, basic, make_login
from tests.worker.oci.sample_images import RepositoryFixture, digest_of, make_image
from tests.worker.parts import open_tools
from worker.images.signatures import hold_to_policy, sign, verify_signatures
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import BUNDLE, TAG_SIGNATURE, Grant, Grants
from worker.oci.signatures.bundle import make_bundle
from worker.oci.signatures.documents import SIGNATURE
from worker.oci.signatures.writing import sign_for_tag

IMAGE = make_image(b"signed")
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
SPDX = "https://spdx.dev/Document"


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    registries = RegistryFactory(tmp_path_factory.mktemp("registries"))
    yield registries.start()
    registries.stop()


@dataclass
class Place:
    """A repository of the real registry that has the image."""

    host: str
    repository: str
    tools: Tools

    @property
    def reference(self) -> str:
        return f"{self.host}/{self.repository}@{IMAGE.digest}"

    async def sign(self, key: SigningKey, *forms: str, about: str = IMAGE.digest) -> SignResult:
        """Store a signature beside the image; ``about`` is the digest that it is made for."""
        name = f"{self.host}/{self.repository}"
        bundle = make_bundle(about, SIGNATURE, {}, key).decode()
        secrets = {
            TAG_SIGNATURE: SecretStr(sign_for_tag(name, IMAGE.digest, key)),
            BUNDLE: SecretStr(bundle),
        }
        command = SignatureSign.model_validate(
            {
                "reference": self.reference,
                "registry_id": "registry",
                "signing_key_id": "key",
                "fingerprint": key.public.fingerprint,
                "forms": forms or ("tag", "bundle"),
            }
        )
        return await sign(command, self._grants(secrets), self.tools)

    async def verify(self, policy: SignaturePolicy) -> SignatureResult:
        command = SignatureVerify(reference=self.reference, registry_id="registry", policy=policy)
        return await verify_signatures(command, self._grants({}), self.tools)

    async def pull(self, policy: SignaturePolicy) -> tuple[str, ...]:
        target = parse_reference(self.reference)
        return await hold_to_policy(policy, target, make_login(self.host), self.tools)

    def _grants(self, secrets: dict[str, SecretStr]) -> Grants:
        grant = Grant(
            login=make_login(self.host),
            repository=self.repository,
            rights=frozenset({"pull", "push"}),
        )
        return Grants(grants=(grant,), secrets=secrets)


@pytest.fixture
async def place(registry: LocalRegistry, tools: Tools, request: pytest.FixtureRequest) -> Place:
    name = f"team/app{digest_of(request.node.name.encode())[7:19]}"
    await RepositoryFixture(registry.host, name, basic()).put("v1", IMAGE)
    return Place(registry.host, name, tools)


def policy(
    *keys: SigningKey, mode: Mode = "enforce", kinds: tuple[str, ...] = ()
) -> SignaturePolicy:
    return SignaturePolicy(
        mode=mode, public_keys=tuple(key.public.pem for key in keys), predicate_types=kinds
    )


async def test_a_signed_image_is_verified_in_both_forms(place: Place) -> None:
    signed = await place.sign(KEY)
    again = await place.sign(KEY)

    result = await place.verify(policy(KEY))

    assert len(signed.attached) == 2 and again.digest == IMAGE.digest
    assert result.violations == ()
    assert {proof.form for proof in result.proofs} == {"tag", "bundle"}
    assert {proof.fingerprint for proof in result.proofs} == {KEY.public.fingerprint}


async def test_an_unsigned_image_is_a_result_with_its_violations(place: Place) -> None:
    result = await place.verify(policy(KEY, kinds=(SPDX,)))

    assert [one.code for one in result.violations] == ["signature_missing", "attestation_missing"]
    assert result.proofs == ()


@pytest.mark.parametrize(
    ("signer", "about", "kinds", "code"),
    [
        (None, IMAGE.digest, (), FaultCode.SIGNATURE_MISSING),
        (OTHER, IMAGE.digest, (), FaultCode.SIGNATURE_UNTRUSTED),
        (KEY, f"sha256:{'e' * 64}", (), FaultCode.SIGNATURE_INVALID),
        (KEY, IMAGE.digest, (SPDX,), FaultCode.ATTESTATION_MISSING),
    ],
    ids=["unsigned", "another key", "another image's signature", "no attestation"],
)
async def test_an_enforced_policy_refuses_and_a_warning_one_warns(
    place: Place,
    signer: SigningKey | None,
    about: str,
    kinds: tuple[str, ...],
    code: FaultCode,
) -> None:
    if signer is not None:
        await place.sign(signer, "bundle", about=about)

    warnings = await place.pull(policy(KEY, mode="warn", kinds=kinds))
    with pytest.raises(RegistryError) as caught:
        await place.pull(policy(KEY, kinds=kinds))

    assert len(warnings) == 1 and code in warnings[0]
    assert caught.value.code == code and not caught.value.retryable
    for text in (warnings[0], caught.value.message):
        assert IMAGE.digest in text and KEY.public.fingerprint in text


async def test_a_signed_image_passes_an_enforced_policy(place: Place) -> None:
    await place.sign(KEY, "bundle")

    assert await place.pull(policy(OTHER, KEY)) == ()


async def test_a_registry_that_is_away_is_not_taken_for_an_unsigned_image(tools: Tools) -> None:
    place = Place("127.0.0.1:9", "team/app", tools)

    with pytest.raises(RegistryError) as caught:
        await place.pull(policy(KEY, mode="warn"))

    assert caught.value.code == FaultCode.CONN_REFUSED and caught.value.retryable
