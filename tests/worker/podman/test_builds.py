"""Builds on a real Podman, by its own builder: it has no BuildKit."""

from dataclasses import dataclass, field, replace

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import parse_reference
from tests.worker.engine.contexts import BASE, context, packed
from tests.worker.engine.parts import IDLE, RegistryFixture
from tests.worker.engine.test_images import ignore
from worker.engine import images
from worker.engine.builds.builder import BuildRequest, build
from worker.engine.transport.connection import Engine
from worker.local.engines import LocalEngine
from worker.login import EngineLogin

TAG = parse_reference("wharf.example/team/built:1")


@dataclass
class Builder:
    """Podman's builder, and the log of its build."""

    engine: Engine
    request: BuildRequest = field(default_factory=lambda: BuildRequest(TAG))
    lines: list[str] = field(default_factory=list)

    async def build(self, dockerfile: str, *logins: EngineLogin) -> str:
        async with packed(context(dockerfile)) as files:
            return await build(
                self.engine, self.request, files, logins, on_line=self.lines.append, idle=IDLE
            )

    async def fail(self, dockerfile: str, *logins: EngineLogin) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.build(dockerfile, *logins)
        return caught.value


@pytest.fixture
def builder(engine: Engine, local_podman: LocalEngine) -> Builder:
    return Builder(engine)


async def test_podman_is_asked_for_no_buildkit(engine: Engine) -> None:
    assert not await engine.prefers_buildkit()


async def test_an_image_is_built_under_its_tag(builder: Builder) -> None:
    builder.request = replace(
        builder.request, build_args={"WHO": "you"}, labels={"org.example.a": "b"}
    )

    image_id = await builder.build(f"FROM {BASE}\nARG WHO\nRUN echo hello $WHO; echo more >&2\n")

    document = await builder.engine.request("GET", f"images/{image_id}/json")
    assert isinstance(document, dict)
    assert isinstance(document["Config"], dict)
    assert isinstance(document["Config"]["Labels"], dict)
    assert document["Config"]["Labels"]["org.example.a"] == "b"
    assert (await images.inspect(builder.engine, str(TAG))).image_id == image_id
    assert {"hello you", "more"} <= set(builder.lines)


async def test_a_failed_step_is_named_and_the_tag_stays(builder: Builder) -> None:
    before = await builder.build(f"FROM {BASE}\nRUN echo good\n")

    error = await builder.fail(f"FROM {BASE}\nRUN echo denied 'x509: no such host'; exit 7\n")

    assert error.code == FaultCode.BUILD_FAILED
    assert "RUN echo denied" in error.message
    assert "exit code 7" in error.message
    assert not error.retryable
    assert (await images.inspect(builder.engine, str(TAG))).image_id == before


@pytest.mark.parametrize(
    ("dockerfile", "change", "code"),
    [
        (f"FROM {BASE}\nRUNN x\n", {}, FaultCode.DOCKERFILE_INVALID),
        (f"FROM {BASE}\n", {"stage": "none"}, FaultCode.DOCKERFILE_INVALID),
        (f"FROM {BASE}\n", {"dockerfile": "none"}, FaultCode.DOCKERFILE_INVALID),
        ("", {}, FaultCode.DOCKERFILE_INVALID),
        ("FROM $NONE\n", {}, FaultCode.DOCKERFILE_INVALID),
        (f"FROM {BASE}\nCOPY none /\n", {}, FaultCode.BUILD_FAILED),
        (
            f"FROM {BASE}\nRUN --mount=type=ssh,required=true true\n",
            {},
            FaultCode.BUILD_UNSUPPORTED,
        ),
        (
            f"FROM {BASE}\nRUN --mount=type=secret,id=npmrc,required=true true\n",
            {},
            FaultCode.BUILD_SECRET_MISSING,
        ),
        (f"FROM {BASE}\n", {"platform": "linux/s390x"}, FaultCode.CONN_REFUSED),
    ],
)
async def test_each_fault_of_a_dockerfile_has_its_code(
    builder: Builder, dockerfile: str, change: dict[str, str], code: FaultCode
) -> None:
    builder.request = replace(builder.request, **change)  # type: ignore[arg-type]

    assert (await builder.fail(dockerfile)).code == code


async def test_a_private_base_image_requires_its_login(
    builder: Builder, locked_registry: RegistryFixture
) -> None:
    base, login = locked_registry.reference("team/base"), locked_registry.login()
    await images.tag(builder.engine, BASE, base)
    await images.push(builder.engine, base, login, ignore, IDLE)
    await images.remove(builder.engine, str(base), force=True)

    refused = await builder.fail(f"FROM {base}\nRUN true\n")
    await builder.build(f"FROM {base}\nRUN echo on private ground\n", login)

    assert refused.code == FaultCode.AUTH_MISSING
    assert "on private ground" in builder.lines
