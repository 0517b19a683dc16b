"""Signatures exchanged with the real cosign, versions 2.5 and 3.1, through real registries."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from shared.faults import FaultCode
from shared.reference import parse_reference
from shared.signatures.keys import PublicKey, SigningKey
from tests.cosign import VERSIONS, Cosign, find_cosign
from tests.fakes.front import open_front
from tests.fakes.immutable import ImmutableTags
from tests.worker.oci.copying import copy
from tests.worker.oci.parts import RegistryFactory, basic, make_login, open_client
from tests.worker.oci.sample_images import (
    INDEX,
    Image,
    RepositoryFixture,
    make_blob,
    make_image,
    make_index,
)
from tests.worker.oci.signatures.referrers_api import PAGE, ReferrersApi
from worker.local.registry import LocalRegistry
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.images.artifact import Stored
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures.bundle import make_bundle
from worker.oci.signatures.documents import SIGNATURE, Form
from worker.oci.signatures.reading import read_documents
from worker.oci.signatures.verification import Requirements, Verdict, verify
from worker.oci.signatures.writing import (
    sign_for_tag,
    store_bundle,
    store_tag_signature,
)
from worker.oci.transport.settings import ConnectionSettings

SBOM_TYPE = "https://cyclonedx.org/bom"


@dataclass(frozen=True)
class Published:
    """A signed index of two platforms in an open registry."""

    registry: LocalRegistry
    image: Image
    repository: str = "team/app"

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/{self.repository}@{self.image.digest}"

    @property
    def subject(self) -> Descriptor:
        return Descriptor(INDEX, self.image.digest, len(self.image.manifests[-1][1]))


@pytest.fixture(scope="session", params=VERSIONS)
def cosign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    found = find_cosign(request.param, tmp_path_factory.mktemp(request.param))
    found.make_keys()
    return found


@pytest.fixture
async def published(open_registry: LocalRegistry, request: pytest.FixtureRequest) -> Published:
    seed = request.node.name
    image = make_index(
        make_image(make_blob(seed, 50)), make_image(make_blob(seed, 60), architecture="arm64")
    )
    await RepositoryFixture(open_registry.host, "team/app").put("1", image)
    return Published(open_registry, image)


def tag_signature(name: str, digest: str, key: SigningKey) -> Stored:
    return store_tag_signature(name, digest, sign_for_tag(name, digest, key))


async def verify_at(
    reference: str, settings: ConnectionSettings, required: Requirements
) -> Verdict:
    parsed = parse_reference(reference)
    async with open_client(parsed.registry, settings, make_login(parsed.registry)) as client:
        documents, gaps = await read_documents(client, parsed.repository, parsed.digest or "")
    assert not gaps
    return verify(parsed.digest or "", documents, required)


async def write(reference: str, settings: ConnectionSettings, stored: Stored) -> None:
    parsed = parse_reference(reference)
    async with open_client(parsed.registry, settings, make_login(parsed.registry)) as client:
        writer = AttachmentWriter(client, parsed.repository)
        for digest, content in stored.blobs.items():
            await writer.store_blob(content, digest)
        await writer.store(stored.attachment)


def public_key(cosign: Cosign) -> PublicKey:
    return PublicKey.parse((cosign.directory / "cosign.pub").read_text())


async def test_what_cosign_signs_and_attests_is_proved(
    cosign: Cosign, published: Published, settings: ConnectionSettings
) -> None:
    sbom = cosign.directory / "sbom.json"
    sbom.write_text(json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5"}))
    required = Requirements((public_key(cosign),), frozenset({SBOM_TYPE}))

    before = await verify_at(published.reference, settings, required)
    cosign.attest(published.reference, "cyclonedx", sbom)
    attested = await verify_at(published.reference, settings, required)
    cosign.sign(published.reference)
    signed = await verify_at(published.reference, settings, required)

    codes = [violation.code for violation in before.violations]
    assert codes == [FaultCode.SIGNATURE_MISSING, FaultCode.ATTESTATION_MISSING]
    assert [violation.code for violation in attested.violations] == [FaultCode.SIGNATURE_MISSING]
    assert signed.violations == ()
    assert {proof.predicate_type for proof in signed.proofs} == {SIGNATURE, SBOM_TYPE}
    form = Form.BUNDLE if cosign.is_version_3 else Form.TAG
    assert {proof.form for proof in signed.proofs} == {form}


async def test_another_key_does_not_count(
    cosign: Cosign, published: Published, settings: ConnectionSettings
) -> None:
    cosign.sign(published.reference)
    other = SigningKey.generate().public

    verdict = await verify_at(published.reference, settings, Requirements((other,)))

    assert [violation.code for violation in verdict.violations] == [FaultCode.SIGNATURE_UNTRUSTED]
    assert published.image.digest in verdict.violations[0].message
    assert other.fingerprint in verdict.violations[0].message


async def test_cosign_accepts_what_is_signed_here(
    cosign: Cosign, published: Published, settings: ConnectionSettings, tmp_path: Path
) -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    public, wrong = tmp_path / "our.pub", tmp_path / "other.pub"
    public.write_text(key.public.pem)
    wrong.write_text(other.public.pem)
    name = f"{published.registry.host}/{published.repository}"

    bundle = make_bundle(published.image.digest, SIGNATURE, {}, key)
    await write(
        published.reference,
        settings,
        store_bundle(published.subject, bundle, SIGNATURE)
        if cosign.is_version_3
        else tag_signature(name, published.image.digest, key),
    )

    assert cosign.verifies(published.reference, public)
    assert not cosign.verifies(published.reference, wrong)


async def test_a_signature_of_ours_joins_those_of_cosign(
    cosign: Cosign, published: Published, settings: ConnectionSettings, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    (tmp_path / "our.pub").write_text(key.public.pem)
    name = f"{published.registry.host}/{published.repository}"
    cosign.sign(published.reference)

    await write(published.reference, settings, tag_signature(name, published.image.digest, key))
    bundle = make_bundle(published.image.digest, SIGNATURE, {}, key)
    await write(published.reference, settings, store_bundle(published.subject, bundle, SIGNATURE))

    assert cosign.verifies(published.reference, tmp_path / "our.pub")
    assert cosign.verifies(published.reference, cosign.directory / "cosign.pub")
    for one in (key.public, public_key(cosign)):
        assert not (await verify_at(published.reference, settings, Requirements((one,)))).violations


async def test_a_copy_brings_the_signature_and_the_attestation(
    cosign: Cosign,
    published: Published,
    registries: RegistryFactory,
    settings: ConnectionSettings,
) -> None:
    target = registries.start()
    sbom = cosign.directory / "sbom.json"
    sbom.write_text("{}")
    cosign.attest(published.reference, "cyclonedx", sbom)
    cosign.sign(published.reference)
    copied = f"{target.host}/kept/app@{published.image.digest}"

    first = await copy(published.reference, copied, settings)
    repeated = await copy(published.reference, copied, settings)

    assert first.left_behind == repeated.left_behind == ()
    await RepositoryFixture(target.host, "kept/app", basic()).require(
        published.image.digest, published.image
    )
    required = Requirements((public_key(cosign),), frozenset({SBOM_TYPE}))
    assert not (await verify_at(copied, settings, required)).violations


async def test_a_copy_into_a_registry_with_the_referrers_api_and_back_stays_verifiable(
    cosign: Cosign,
    published: Published,
    registries: RegistryFactory,
    settings: ConnectionSettings,
) -> None:
    other, last = registries.start(), registries.start()
    sbom = cosign.directory / "sbom.json"
    sbom.write_text("{}")
    cosign.sign(published.reference)
    for _ in range(PAGE):  # more referrers than one page lists
        cosign.attest(published.reference, "cyclonedx", sbom)
    required = Requirements((public_key(cosign),), frozenset({SBOM_TYPE}))
    digest = published.image.digest
    api = ReferrersApi(other.host)

    async with open_front(other.host, api.intercept) as front:
        middle = f"{front.host}/kept/app@{digest}"
        there = await copy(published.reference, middle, settings)
        verdict = await verify_at(middle, settings, required)
        back = await copy(middle, f"{last.host}/app@{digest}", settings)

    assert there.left_behind == back.left_behind == ()
    assert not verdict.violations
    assert not (await verify_at(f"{last.host}/app@{digest}", settings, required)).violations
    assert bool(api.entries) == cosign.is_version_3
    tag = digest.replace(":", "-")
    status, _ = await RepositoryFixture(other.host, "kept/app", basic()).get(f"manifests/{tag}")
    assert status == 404, "no tag lists the referrers where the registry does"


async def test_a_signature_that_is_moved_to_another_image_is_invalid(
    cosign: Cosign, published: Published, settings: ConnectionSettings
) -> None:
    key = SigningKey.generate()
    name = f"{published.registry.host}/{published.repository}"
    other = f"sha256:{'e' * 64}"
    moved = tag_signature(name, other, key)
    tag = f"{published.image.digest.replace(':', '-')}.sig"
    await write(
        published.reference,
        settings,
        replace(moved, attachment=replace(moved.attachment, tag=tag)),
    )

    verdict = await verify_at(published.reference, settings, Requirements((key.public,)))

    assert [violation.code for violation in verdict.violations] == [FaultCode.SIGNATURE_INVALID]
    assert other in verdict.violations[0].message


async def test_an_immutable_tag_of_other_signatures_leaves_the_signature_behind(
    cosign: Cosign,
    published: Published,
    registries: RegistryFactory,
    settings: ConnectionSettings,
) -> None:
    target = registries.start()
    cosign.sign(published.reference)
    digest = published.image.digest
    tags = ImmutableTags(target.host)
    suffix = "" if cosign.is_version_3 else ".sig"
    tags.written.add(f"/v2/kept/app/manifests/{digest.replace(':', '-')}{suffix}")

    async with open_front(target.host, tags.intercept) as front:
        copied = await copy(published.reference, f"{front.host}/kept/app:1", settings)

    assert len(copied.left_behind) == 1
    assert "stayed behind" in copied.left_behind[0]
    assert str(FaultCode.TAG_IMMUTABLE) in copied.left_behind[0]
    await RepositoryFixture(target.host, "kept/app", basic()).require("1", published.image)
