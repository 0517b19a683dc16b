"""Bases are held to the registries of a policy, and to the keys of their publishers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from shared.errors import RegistryError
from shared.faults import FaultCode
from shared.jobs.commands import ANY_REPOSITORY, ImageBuild
from shared.jobs.sources import GitSource
from shared.reference import parse_reference
from shared.signatures.keys import SigningKey
from shared.signatures.policy import BasePolicy, Mode, PublisherKeys
from tests.worker.oci.parts import RegistryFactory, basic, make_login, make_settings, open_client
from tests.worker.oci.sample_images import INDEX, RepositoryFixture, make_image
from tests.worker.parts import open_tools
from worker.builds.base_policy import (
    require_allowed_bases,
    require_pinned_bases,
    require_signed_bases,
)
from worker.builds.bases import FoundBase
from worker.builds.sources.dockerfile import parse_bases, pin_bases
from worker.engine.images import LocalImage
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
EVIL = "evil.example/x:1"
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
    assert require_allowed_bases(policy, DOCKERFILE) == ()


def test_each_base_from_elsewhere_is_named_with_what_is_allowed() -> None:
    allowed = ("docker.io", "ghcr.io/ac")

    warnings = require_allowed_bases(held("warn", *allowed), DOCKERFILE)
    with pytest.raises(RegistryError) as caught:
        require_allowed_bases(held("enforce", *allowed), DOCKERFILE)

    assert caught.value.code == FaultCode.BASE_NOT_ALLOWED
    assert len(warnings) == 2 and all("base_not_allowed" in each for each in warnings)
    for text in (caught.value.message, " ".join(warnings)):
        assert "FROM ghcr.io/acme/base:2" in text and "FROM quay.io/other/thing:3" in text
        assert "busybox" not in text and "docker.io, ghcr.io/ac" in text


@pytest.mark.parametrize(
    ("dockerfile", "reason"),
    [
        (f"FROM a\nCOPY --from={EVIL} / / \\\n# end", EVIL),
        (f"FROM a\nCOPY --chown='a b' --from={EVIL} / /", EVIL),
        (f"FROM a\nCOPY \"--from={EVIL}\" / /\nCOPY --'from'={EVIL} / /", EVIL),
        (f"FROM a\nRUN --mount='type=bind,\"from={EVIL}\"' x", EVIL),
        (f"FROM a\nRUN --mount=type=bind,FROM={EVIL} x", EVIL),
        (f"FROM a\nRUN --mount=FROM={EVIL},target=/t x", EVIL),
        (f"FROM a\nONBUILD COPY --from={EVIL} / /", EVIL),
        (f"FROM a\nONBUILD RUN --mount=from={EVIL} x", EVIL),
        (f"FROM a\nONBUILD FROM {EVIL}", "line 2: ONBUILD"),
        (f"# syntax={EVIL}\nFROM a", EVIL),
        (f"\ufeff#\fsyntax={EVIL}\nFROM a", EVIL),
        (f"#!/bin/x\n//syntax = {EVIL}\nFROM a", EVIL),
        ('{"syntax": "x"}', "line 1: it begins like JSON"),
        ("FROM a\nFROM " + " " * 10_000 + f"\\\n{EVIL}", EVIL),
        (f"FROM {EVIL} AS " + "a" * 10_000, "line 1: FROM has more than"),
        ("ARG A=b\nFROM ${A#b}", "line 2: write variables as"),
        ("ARG A=b\nFROM ${A/b/c}", "line 2: write variables as"),
        ("ARG A\nARG B\nFROM ${A:-${B:-c}}", "line 3: write variables as"),
        ("ARG A\nFROM ${A-b}", "line 2: write variables as"),
        ("FROM a$TARGETOS", "line 1: $TARGETOS is not known"),
        ("ARG TARGETARCH\nFROM a:$TARGETARCH", "line 2: $TARGETARCH is not known"),
        ("ARG A=b\\c\nFROM a", "line 1: write ARG"),
        ("FROM Upper/case", "line 1: 'Upper/case' is no image"),
        (f'FROM "{EVIL}"', "line 1: write FROM"),
        ("FROM a AS b c", "line 1: write FROM"),
        (f"FROM a AS b\nFROM {EVIL} AS b", "line 2: the stage 'b'"),
        (f"FROM a\nRUN --mount=from=b x\nFROM {EVIL} AS b", "line 3: the stage 'b'"),
        ("FROM a\nCOPY --from=1 / /\nFROM b", "line 2: there is no stage 1"),
        ("FROM a\nCOPY --from=$B / /", "line 2: '$B' is no image"),
        ("FROM a\nCOPY --fr\\om=b / /", "line 2: write its flags"),
        ("FROM a\nCOPY --chown='a --from=b / /", "line 2: its flags"),
        (f"FROM a\nRUN cat <<E-F\nE\nFROM {EVIL}\nE-F", "line 2: write a heredoc"),
        (f"FROM a\nRUN echo '<<E'\nFROM {EVIL}\nRUN <<E\nE", "line 2: write a heredoc"),
        (f"FROM a\nRUN cat<<CMD\nFROM {EVIL}\nCMD", "line 2: write a heredoc"),
        (f"FROM a\nRUN cat <<CMD\nFROM {EVIL}\nCMD", "line 2: the heredoc CMD"),
        ("FROM a\nRUN cat <<E\nFROM b \\\nE", "line 2: the heredoc E"),
        ("FROM a\nRUN cat <<E", "line 2: the heredoc E has no end"),
        (f"FROM a\nONBUILD RUN <<E\nFROM b AS {EVIL}\nE", "line 2: ONBUILD"),
        (f"FROM a\nRUN x \\\\\nFROM {EVIL}", "line 2: two escape characters"),
        (f"FROM a\n\u00a0 \\\nFROM {EVIL}", "line 2: it contains white space"),
        ("FROM a\nRUN <<E\nE\r\r\nFROM b\nE", "line 3: it contains white space"),
        (f"# why\n# escape=`\nFROM a `\nFROM {EVIL}", "line 2: an escape directive"),
    ],
)
def test_a_dockerfile_that_a_builder_may_read_otherwise_is_refused(
    dockerfile: str, reason: str
) -> None:
    with pytest.raises(RegistryError) as caught:
        require_allowed_bases(held("enforce", "docker.io"), dockerfile)
    warnings = require_allowed_bases(held("warn", "docker.io"), dockerfile)

    assert caught.value.code == FaultCode.BASE_NOT_ALLOWED
    assert reason in caught.value.message and reason in " ".join(warnings)
    assert require_allowed_bases(None, dockerfile) == ()


@pytest.mark.parametrize(
    "dockerfile",
    [
        "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN dir `\n  c:\\x",
        "ARG V=1 W='x'\nARG I=\"a:${V:-2}\"\nFROM --platform=$BUILDPLATFORM $I AS b\nFROM ${I}",
        'FROM a AS b\nARG TARGETOS\nRUN --mount=type=cache,target=/x,id="$TARGETOS" x\nFROM b',
        "FROM a\r\nRUN set -e \\\r\n  # why\r\n\r\n  && x\r\nCOPY --from=0 --chown=1:1 / /\r\n",
        'FROM a\nRUN <<EOF cat > "$HOME/x"\nfrom os import path\n \u00a0\nEOF\nRUN echo "x"',
        'FROM a\nCOPY <<-\'A\' <<"B" /to/\n\tA\nB\nENV A=<<b C=\u00fc\nCMD ["a"]',
        "FROM scratch\nADD --chmod=755 a b\nONBUILD RUN x\nONBUILD COPY --from=c / /\n",
    ],
)
def test_a_usual_dockerfile_has_one_reading(dockerfile: str) -> None:
    assert require_allowed_bases(held("enforce", "docker.io"), dockerfile) == ()


@pytest.mark.parametrize(
    ("dockerfile", "is_pinned"),
    [
        ("FROM x\nCOPY --from=a / /\nRUN --mount=from=a --mount=type=bind,FROM=a x", True),
        ("FROM x\nRUN --mount='from=a,type=bind' x\nONBUILD COPY --from=a / /", True),
        ("ARG I=a\nFROM \\\n  $I AS x\nCOPY --from=x / /", True),
        ("FROM x\nCOPY --fr\\\nom=a / /", False),
        ("FROM x\nCOPY \\\n # --from=a\n --from=a / /", False),
    ],
)
def test_each_base_is_named_by_its_digest_or_the_build_is_refused(
    dockerfile: str, *, is_pinned: bool
) -> None:
    policy = held("enforce", "docker.io")
    found = [
        FoundBase(base, None, resolved=IMAGE.digest)
        for base in parse_bases(dockerfile, triggers=True)
    ]
    pins = {one.base: f"{one.base.reference.name}@{IMAGE.digest}" for one in found}
    command = ImageBuild(
        application_id="a", reference="r.example/a:1", source=GitSource(url="https://g.example/a")
    )
    text = pin_bases(dockerfile, pins, triggers=True)

    refusal = nullcontext() if is_pinned else pytest.raises(RegistryError, match="a cannot be")
    with refusal:
        require_pinned_bases(policy, command, text, found)

    assert require_allowed_bases(policy, dockerfile) == ()
    with pytest.raises(RegistryError):
        require_pinned_bases(policy, command, dockerfile, found)


def test_a_dockerfile_for_a_preprocessor_is_refused() -> None:
    with pytest.raises(RegistryError) as caught:
        require_allowed_bases(held("enforce", "docker.io"), "FROM a", name="Containerfile.in")

    assert "name it without .in" in caught.value.message


def test_an_image_that_reads_the_dockerfile_is_held_to_the_policy() -> None:
    arguments = {"BUILDKIT_SYNTAX": f"{EVIL} --option"}
    publishers = (PublisherKeys(prefix="docker.io/docker", public_keys=(KEY.public.pem,)),)
    policy = BasePolicy(mode="enforce", publishers=publishers)
    named = "# syntax=docker/dockerfile:1"

    with pytest.raises(RegistryError) as foreign:
        require_allowed_bases(held("enforce", "docker.io"), "FROM a", arguments)
    with pytest.raises(RegistryError) as movable:
        require_allowed_bases(policy, f"{named}\nFROM a")

    assert EVIL in foreign.value.message and "BUILDKIT_SYNTAX" in foreign.value.message
    assert "add its digest" in movable.value.message
    assert require_allowed_bases(policy, f"{named}@{IMAGE.digest}\nFROM a") == ()


async def test_a_base_of_a_publisher_has_to_be_signed_by_it(
    registry: LocalRegistry, tools: Tools
) -> None:
    repository = RepositoryFixture(registry.host, "library/base", basic())
    await repository.put("1", IMAGE)
    [base] = parse_bases(f"FROM {registry.host}/library/base:1")
    proved = FoundBase(base, None, resolved=IMAGE.digest)
    found = [proved, *(FoundBase(each, None) for each in BASES)]
    login = make_login(registry.host)
    grant = Grant(login=login, repository=ANY_REPOSITORY, rights=frozenset({"pull"}))
    grants = Grants(grants=(grant,))

    async def require(
        key: SigningKey, mode: Mode = "enforce", found: list[FoundBase] = found
    ) -> tuple[str, ...]:
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
    local = [FoundBase(base, LocalImage("sha256:1", (), "linux", "amd64", 1))]
    with pytest.raises(RegistryError) as unproved:
        await require(KEY, found=local)
    [unproved_warning] = await require(KEY, "warn", local)

    assert await require(KEY) == ()
    assert unsigned.value.code == FaultCode.SIGNATURE_MISSING
    assert untrusted.value.code == FaultCode.SIGNATURE_UNTRUSTED
    assert unproved.value.code == FaultCode.SIGNATURE_MISSING
    assert "has no digest here" in unproved.value.message
    assert "has no digest here" in unproved_warning
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
