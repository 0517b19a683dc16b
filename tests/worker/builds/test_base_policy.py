"""Bases are held to the registries of a policy, and to the keys of their publishers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ANY_REPOSITORY
from shared.reference import parse_reference
from shared.signatures.keys import SigningKey
from shared.signatures.policy import BasePolicy, Mode, PublisherKeys
from tests.worker.oci.parts import RegistryFactory, basic, make_login, make_settings, open_client
from tests.worker.oci.sample_images import INDEX, RepositoryFixture, make_image
from tests.worker.parts import open_tools
from worker.builds.base_policy import require_allowed_bases, require_signed_bases
from worker.builds.bases import FoundBase
from worker.builds.sources.dockerfile import parse_bases
from worker.jobs.tools import Tools
from worker.local.registry import LocalRegistry
from worker.login import Grant, Grants
from worker.oci.attachment_writer import AttachmentWriter
from worker.oci.registry.manifest import Descriptor
from worker.oci.signatures.bundle import make_bundle
from worker.oci.signatures.documents import SIGNATURE
from worker.oci.signatures.writing import store_bundle

DOCKERFILE = """
FROM docker.io/library/busybox:1 AS tools
FROM ghcr.io/acme/base:2
COPY --from=quay.io/other/thing:3 /a /a
"""
BASES = parse_bases(DOCKERFILE)
IMAGE = make_image(b"a base")
KEY, OTHER = SigningKey.generate(), SigningKey.generate()


@pytest.fixture
async def tools(tmp_path: Path) -> AsyncIterator[Tools]:
    async with open_tools(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    registries = RegistryFactory(tmp_path_factory.mktemp("registries"))
    yield registries.start()
    registries.stop()


def held(mode: Mode, *allowed: str) -> BasePolicy:
    return BasePolicy(mode=mode, allowed=allowed)


@pytest.mark.parametrize(
    "policy",
    [
        None,
        held("off", "ghcr.io"),
        held("enforce"),
        held("enforce", "docker.io", "ghcr.io/acme", "quay.io/other/thing"),
    ],
    ids=["no policy", "off", "no list", "all listed"],
)
def test_bases_of_listed_registries_are_allowed(policy: BasePolicy | None) -> None:
    assert require_allowed_bases(policy, BASES) == ()


def test_each_base_from_elsewhere_is_named_with_what_is_allowed() -> None:
    allowed = ("docker.io", "ghcr.io/ac")

    warnings = require_allowed_bases(held("warn", *allowed), BASES)
    with pytest.raises(RegistryError) as caught:
        require_allowed_bases(held("enforce", *allowed), BASES)

    assert caught.value.code == FaultCode.BASE_NOT_ALLOWED
    assert len(warnings) == 2 and all("base_not_allowed" in each for each in warnings)
    for text in (caught.value.message, " ".join(warnings)):
        assert "FROM ghcr.io/acme/base:2" in text and "FROM quay.io/other/thing:3" in text
        assert "busybox" not in text and "docker.io, ghcr.io/ac" in text


async def test_a_base_of_a_publisher_has_to_be_signed_by_it(
    registry: LocalRegistry, tools: Tools
) -> None:
    repository = RepositoryFixture(registry.host, "library/base", basic())
    await repository.put("1", IMAGE)
    [base] = parse_bases(f"FROM {registry.host}/library/base:1")
    found = [FoundBase(base, None), *(FoundBase(each, None) for each in BASES)]
    login = make_login(registry.host)
    grant = Grant(login=login, repository=ANY_REPOSITORY, rights=frozenset({"pull"}))
    grants = Grants(grants=(grant,))

    async def require(key: SigningKey, mode: Mode = "enforce") -> tuple[str, ...]:
        prefix, keys = f"{registry.host}/library", (key.public.pem,)
        publishers = (PublisherKeys(prefix=prefix, public_keys=keys),)
        policy = BasePolicy(mode=mode, publishers=publishers)
        return await require_signed_bases(policy, found, grants, tools)

    with pytest.raises(RegistryError) as unsigned:
        await require(KEY)
    await sign(registry.host)
    with pytest.raises(RegistryError) as untrusted:
        await require(OTHER)
    [warning] = await require(OTHER, "warn")

    assert await require(KEY) == ()
    assert unsigned.value.code == FaultCode.SIGNATURE_MISSING
    assert untrusted.value.code == FaultCode.SIGNATURE_UNTRUSTED
    assert OTHER.public.fingerprint in warning and IMAGE.digest in warning


async def test_a_registry_that_is_away_is_a_warning_unless_the_policy_enforces(
    tools: Tools,
) -> None:
    away = "127.0.0.1:1"
    publishers = (PublisherKeys(prefix=away, public_keys=(KEY.public.pem,)),)
    found = [FoundBase(base, None) for base in parse_bases(f"FROM {away}/base@{IMAGE.digest}")]

    [warning] = await require_signed_bases(
        BasePolicy(mode="warn", publishers=publishers), found, Grants(), tools
    )
    with pytest.raises(RegistryError) as caught:
        await require_signed_bases(
            BasePolicy(mode="enforce", publishers=publishers), found, Grants(), tools
        )

    assert str(caught.value.code) in warning and f"{away}/base" in warning


async def sign(host: str) -> None:
    subject = Descriptor(INDEX, IMAGE.digest, len(IMAGE.manifests[-1][1]))
    stored = store_bundle(subject, make_bundle(IMAGE.digest, SIGNATURE, {}, KEY), SIGNATURE)
    async with open_client(host, make_settings(), make_login(host)) as client:
        writer = AttachmentWriter(client, "library/base")
        for digest, content in stored.blobs.items():
            await writer.store_blob(content, digest)
        await writer.store(stored.attachment)


@pytest.mark.parametrize(
    ("image", "prefix"),
    [
        ("docker.io/library/nginx:1", "docker.io/library"),
        ("docker.io/library/nginx:1", "docker.io"),
        ("ghcr.io/acme/base/deep:1", "ghcr.io/acme/base"),
        ("ghcr.io/acmeother/base:1", None),
    ],
)
def test_the_longest_prefix_names_the_publisher(image: str, prefix: str | None) -> None:
    prefixes = ["docker.io", "docker.io/library", "ghcr.io/acme", "ghcr.io/acme/base"]
    if prefix == "docker.io":
        prefixes.remove("docker.io/library")
    publishers = tuple(PublisherKeys(prefix=one, public_keys=(one,)) for one in prefixes)

    found = BasePolicy(mode="warn", publishers=publishers).find_signatures(parse_reference(image))

    assert (found.public_keys[0] if found else None) == prefix
