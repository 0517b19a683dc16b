"""Complete builds, from a git repository or an upload to an image on a real Engine."""

import asyncio
import gzip
import hashlib
import re
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.errors import WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ANY_REPOSITORY, ImageBuild
from shared.jobs.results import ImageResult
from shared.jobs.sources import GitSource, UploadSource
from shared.reference import parse_reference
from shared.signatures.policy import BasePolicy
from shared.ssh.keys import DeployKey
from tests.engines import is_engine
from tests.fakes.git import TOKEN, GitServer, open_git_server
from tests.fakes.git_ssh import open_ssh_git_server
from tests.fakes.web import open_fake
from tests.waiting import wait_until
from tests.worker.builds.sources.test_upload import entry, make_tar
from tests.worker.engine.contexts import BASE, context, make_base
from tests.worker.engine.parts import IDLE, PASSWORD, RegistryFixture
from tests.worker.engine.test_images import ignore
from tests.worker.parts import make_tools
from worker.builds import build as builds
from worker.builds.pins import NOBODY
from worker.engine import images
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.local.engines import LocalEngine
from worker.local.namespaces import Namespace
from worker.login import CONTEXT_TOKEN, GIT_SSH_KEY, GIT_TOKEN, Grant, Grants

TAG = "wharf.example/team/handled:1"


@dataclass
class Job:
    """A build of a repository, and its log."""

    server: GitServer
    tools: Tools
    pieces: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        return "\n".join(self.pieces)

    async def run(self, grants: Grants | None = None, **command: Any) -> ImageResult:
        source = {"url": self.server.url("app"), **command.pop("source", {})}
        request = ImageBuild(
            application_id="a", reference=TAG, source=GitSource(**source), **command
        )
        attempt = Attempt("job", 1, write_event=self._add_event)
        return await builds.build(request, grants or Grants(), attempt, self.tools)

    async def fail(self, grants: Grants | None = None, **command: Any) -> WharfError:
        with pytest.raises(WharfError) as caught:
            await self.run(grants, **command)
        return caught.value

    async def _add_event(self, _: int, kind: str, data: Mapping[str, Any]) -> None:
        assert kind == "log"
        self.pieces.append(data["text"])


@pytest.fixture
async def job(engine: Engine, local_engine: LocalEngine, tmp_path: Path) -> AsyncIterator[Job]:
    make_base(local_engine.docker_host)
    async with open_git_server(tmp_path) as server:
        yield Job(server, make_tools(engine, "public,private,loopback", tmp_path))


@dataclass
class ContextApi:
    """An API that has one context, and sends it for one token."""

    content: bytes

    @property
    def source(self) -> UploadSource:
        return UploadSource(
            context_id="context",
            size_bytes=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
        )

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        is_right = request.headers["authorization"] == f"Bearer {TOKEN}"
        if request.path != "/api/contexts/context" or not is_right:
            return web.Response(status=404)
        return web.Response(body=self.content)


async def build_upload(
    job: Job, content: bytes, *, use_buildkit: bool = False, **command: Any
) -> ImageResult:
    """Build what an API has, as an attempt that was given a token for it.

    A secret of the build needs BuildKit, whatever the Engine prefers.
    """
    stored = ContextApi(content)
    grants = Grants(
        secrets={CONTEXT_TOKEN: SecretStr(TOKEN)},
        build_secrets={"UNUSED": SecretStr("unused-canary")} if use_buildkit else {},
    )
    async with open_fake(stored) as api:
        tools = replace(job.tools, api_url=f"http://{api.host}")
        request = ImageBuild(application_id="a", reference=TAG, source=stored.source, **command)
        attempt = Attempt("job", 1, write_event=job._add_event)
        return await builds.build(request, grants, attempt, tools)


async def test_a_repository_becomes_an_image_with_its_source_labels(job: Job) -> None:
    commit = job.server.create("app").commit(
        {
            "app/Dockerfile": f"FROM {BASE}\nCOPY . /app\nRUN cat /app/hello\n".encode(),
            "app/hello": b"ahoy",
        }
    )

    result = await job.run(context_path="app", dockerfile="app/Dockerfile")

    assert result.image_id
    document = await job.tools.engine.request("GET", f"images/{result.image_id}/json")
    assert isinstance(document, dict)
    assert isinstance(document["Config"], dict)
    assert document["Config"]["Labels"] == {
        builds.REVISION: commit,
        builds.SOURCE: job.server.url("app"),
    }
    assert (result.revision, result.reference) == (commit, TAG)
    assert result.size_bytes
    assert "ahoy" in job.log
    assert commit in job.log


async def test_the_root_of_the_sources_may_be_a_directory_of_the_repository(job: Job) -> None:
    job.server.create("app").commit(
        {"deep/in/Dockerfile": f"FROM {BASE}\nRUN echo deep\n".encode()}
    )

    await job.run(source={"path": "deep/in"})

    assert "deep" in job.log


async def test_an_allowed_missing_part_is_in_the_log_and_the_result(job: Job) -> None:
    library = job.server.create("library").commit({"hello": b"ahoy"})
    dockerfile_text = f"FROM {BASE}\nCOPY . /app\nRUN cat /app/here/hello; ls /app/gone\n".encode()
    modules = {"here": ("../library", library), "gone": ("git@a.example:b", library)}
    job.server.create("app").commit({"Dockerfile": dockerfile_text}, submodules=modules)

    error = await job.fail()
    result = await job.run(allow_missing=True)

    assert (error.code, error.retryable) == (FaultCode.SOURCE_INCOMPLETE, False)
    assert "submodule gone" in error.message
    assert "ahoy" in job.log
    assert "missing: submodule gone" in job.log
    assert [warning[:23] for warning in result.warnings] == ["missing: submodule gone"]


async def test_private_sources_on_a_private_base_are_built_without_showing_a_secret(
    job: Job, locked_registry: RegistryFixture
) -> None:
    base = locked_registry.reference("team/handled-base")
    login = locked_registry.login()
    await images.tag(job.tools.engine, BASE, base)
    await images.push(job.tools.engine, base, login, ignore, IDLE)
    await images.remove(job.tools.engine, str(base), force=True)
    job.server.create("app", is_private=True).commit(
        {"Dockerfile": f"ARG B\nFROM $B\nRUN echo {TOKEN} and {PASSWORD}; exit 3\n".encode()}
    )
    grants = Grants(
        grants=(Grant(login=login, repository=ANY_REPOSITORY, rights=frozenset({"pull"})),),
        secrets={GIT_TOKEN: SecretStr(TOKEN)},
    )

    error = await job.fail(grants, build_args={"B": str(base)})

    assert error.code == FaultCode.BUILD_FAILED
    assert "*** and ***" in job.log
    output = f"{error!r} {error.fault()!r} {job.log}"
    assert "exit code 3" in output
    assert TOKEN not in output
    assert PASSWORD not in output


async def test_a_deploy_key_builds_and_is_afterwards_in_no_file_log_or_message(
    job: Job, tmp_path: Path
) -> None:
    key = DeployKey.generate()
    (tmp_path / "ssh").mkdir()
    async with open_ssh_git_server(tmp_path / "ssh") as server:
        server.authorize(key)
        commit = server.create("app").commit(
            {"Dockerfile": f"FROM {BASE}\nCOPY . /app\nRUN env; ls -lR /app\n".encode()}
        )
        source = {"url": server.url("app"), "host_keys": (server.fingerprint,)}
        grants = Grants(secrets={GIT_SSH_KEY: SecretStr(key.to_text())})

        result = await job.run(grants, source=source)
        error = await job.fail(grants, source={**source, "host_keys": ()})

    assert result.revision == commit
    assert error.code == FaultCode.HOST_KEY_NOT_PINNED
    files = await asyncio.to_thread(_read_all, tmp_path)
    shown = f"{job.log} {result!r} {error!r} {error.fault()!r}".encode()
    for canary in key.to_text().encode().splitlines()[2:-1]:
        assert not [content for content in (*files, shown) if canary in content]


@pytest.mark.parametrize("use_buildkit", [True, False])
async def test_a_build_uses_the_local_image_and_names_it(job: Job, *, use_buildkit: bool) -> None:
    """The name is that of an image at Docker Hub, which nobody asks."""
    copy = b"COPY --from=base:1 /bin/busybox /again\n"
    dockerfile_text = b"FROM base:1\n" + copy + b"RUN echo on our own base\n"
    local = await images.inspect(job.tools.engine, BASE)
    await images.tag(job.tools.engine, BASE, parse_reference("base:1"))

    result = await build_upload(
        job, make_tar(entry("Dockerfile"), content=dockerfile_text), use_buildkit=use_buildkit
    )

    named = [(base.reference, base.image_id) for base in result.bases]
    assert named == [("docker.io/library/base:1", local.image_id)]
    assert "on our own base" in job.log


@pytest.mark.parametrize("use_buildkit", [True, False])
async def test_a_private_base_for_the_named_own_platform_is_pulled_before(
    job: Job, locked_registry: RegistryFixture, *, use_buildkit: bool
) -> None:
    base, login = locked_registry.reference("team/named-platform"), locked_registry.login()
    await images.tag(job.tools.engine, BASE, base)
    pushed = await images.push(job.tools.engine, base, login, ignore, IDLE)
    await images.remove(job.tools.engine, str(base), force=True)
    architecture = (await images.find_platform(job.tools.engine)).architecture
    job.server.create("app").commit(
        {"Dockerfile": f"FROM --platform=linux/{architecture} {base}\nRUN echo on it\n".encode()}
    )
    grants = Grants(
        grants=(Grant(login=login, repository=ANY_REPOSITORY, rights=frozenset({"pull"})),),
        build_secrets={"UNUSED": SecretStr("unused-canary")} if use_buildkit else {},
    )

    result = await job.run(grants)

    assert [(one.reference, one.digest) for one in result.bases] == [(str(base), pushed.digest)]
    assert "on it" in job.log


async def test_a_secret_is_mounted_with_any_preferred_builder_and_not_shown(
    job: Job,
) -> None:
    step = "RUN --mount=type=secret,id=NPM_TOKEN cat /run/secrets/NPM_TOKEN; echo as well"
    job.server.create("app").commit({"Dockerfile": f"FROM {BASE}\n{step}\n".encode()})
    grants = Grants(build_secrets={"NPM_TOKEN": SecretStr("npm_canary")})

    await job.run(grants)

    assert "***as well" in job.log
    assert "npm_canary" not in job.log


async def test_a_missing_base_is_named_before_the_build(
    job: Job, registry: RegistryFixture
) -> None:
    base = registry.reference("team/nowhere")
    job.server.create("app").commit({"Dockerfile": f"FROM {base}\n".encode()})

    error = await job.fail()

    assert error.code == FaultCode.IMAGE_NOT_FOUND
    assert str(base) in error.message


async def test_a_base_of_a_registry_that_the_policy_excludes_is_refused_before_the_build(
    job: Job,
) -> None:
    job.server.create("app").commit({"Dockerfile": b"FROM docker.io/library/nowhere:1\n"})

    error = await job.fail(base_policy=BasePolicy(mode="enforce", allowed=("ghcr.io/acme",)))

    assert error.code == FaultCode.BASE_NOT_ALLOWED
    assert "FROM docker.io/library/nowhere:1" in error.message and "ghcr.io/acme" in error.message
    assert "pulling" not in job.log


@pytest.mark.parametrize("use_buildkit", [True, False])
async def test_an_enforced_build_is_on_the_registry_s_image_and_not_on_a_local_one_of_its_name(
    job: Job, local_engine: LocalEngine, registry: RegistryFixture, *, use_buildkit: bool
) -> None:
    engine = job.tools.engine
    base, foreign = registry.reference("team/held"), registry.reference("team/foreign")
    other = f"{NOBODY}/library/foreign:1"
    make_base(local_engine.docker_host, other, architecture="s390x")
    await images.tag(engine, BASE, base)
    await images.tag(engine, other, foreign)
    pushed = [await images.push(engine, each, None, ignore, IDLE) for each in (base, foreign)]
    step = make_tar(entry("Dockerfile"), content=f"FROM {BASE}\nRUN touch /local\n".encode())
    await build_upload(job, step)
    for each in (base, foreign):
        await images.tag(engine, TAG, each)
    text = (
        f"FROM --platform=linux/s390x {foreign} AS other\n"
        f"FROM {base}\nCOPY --from=other /bin/busybox /other\n"
        f"RUN test ! -e /local && echo {use_buildkit}\n"
    )
    policy = BasePolicy(mode="enforce", allowed=(registry.host,))

    result = await build_upload(
        job,
        make_tar(entry("Dockerfile"), content=text.encode()),
        use_buildkit=use_buildkit,
        base_policy=policy,
    )

    assert [one.digest for one in result.bases] == [pushed[1].digest, pushed[0].digest]


async def test_a_base_that_only_the_engine_has_is_refused_where_a_policy_is_enforced(
    job: Job, registry: RegistryFixture
) -> None:
    base = registry.reference("team/unpushed")
    await images.tag(job.tools.engine, BASE, base)
    job.server.create("app").commit({"Dockerfile": f"FROM {base}\n".encode()})

    error = await job.fail(base_policy=BasePolicy(mode="enforce", allowed=(registry.host,)))

    assert error.code == FaultCode.IMAGE_NOT_FOUND
    assert str(base) in error.message


@pytest.mark.parametrize("platform", ["", "--platform=linux/s390x "])
async def test_a_base_that_cannot_be_pulled_is_explained_by_its_registry(
    job: Job, namespace: Namespace, platform: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.Response(headers={"Docker-Distribution-Api-Version": "registry/2.0"})
        return web.Response(status=429, headers={"Retry-After": "7"})

    async with open_fake(answer, listen=namespace.our_address) as fake:
        base = f"{fake.host}/team/base:1"
        job.server.create("app").commit({"Dockerfile": f"FROM {platform}{base}\n".encode()})
        error = await job.fail()

    assert (error.code, error.fault().retry_after_seconds) == (FaultCode.RATE_LIMITED, 7.0)
    assert base in error.message


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"source": {"branch": "none"}}, FaultCode.REVISION_NOT_FOUND),
        ({"source": {"path": "../.."}}, FaultCode.SOURCE_INVALID),
        ({"context_path": ".."}, FaultCode.SOURCE_INVALID),
        ({"dockerfile": "none"}, FaultCode.DOCKERFILE_INVALID),
        ({"stage": "none"}, FaultCode.DOCKERFILE_INVALID),
    ],
)
async def test_an_invalid_command_fails_with_its_code_and_remedy(
    job: Job, command: dict[str, Any], code: FaultCode
) -> None:
    job.server.create("app").commit({"Dockerfile": f"FROM {BASE}\n".encode()})

    error = await job.fail(**command)

    assert error.code == code
    assert error.remedy


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_an_uploaded_context_becomes_an_image_without_source_labels(
    job: Job, pack: Callable[[bytes], bytes]
) -> None:
    dockerfile = f"FROM {BASE}\nCOPY hello /hello\nRUN cat /hello; echo {TOKEN}\n"
    hello = f"ahoy by {pack.__name__}"  # another file, so that no step is found in the cache
    tar = b"".join([chunk async for chunk in context(dockerfile, {"hello": hello.encode()})])

    result = await build_upload(job, pack(tar))

    document = await job.tools.engine.request("GET", f"images/{result.image_id}/json")
    assert isinstance(document, dict)
    assert isinstance(document["Config"], dict)
    assert not document["Config"].get("Labels")
    assert (result.revision, result.reference) == (None, TAG)
    assert hello in job.log
    assert TOKEN not in job.log
    assert list(job.tools.workspaces.directory.iterdir()) == []


@pytest.mark.parametrize("use_buildkit", [True, False])
async def test_files_of_a_context_have_the_modes_of_docker_build(
    job: Job, *, use_buildkit: bool
) -> None:
    """BuildKit keeps all twelve bits; the classic builder drops setuid and setgid of files.

    So does BuildKit of a rootless Engine.
    """
    files = [0o4755, 0o2755, 0o664, 0o775, 0o400, 0o000, 0o666]
    directories = [0o2775, 0o1777, 0o700, 0o555]
    step = f"cd /app; stat -c '%n=%a %u:%g %h' *; : not cached {use_buildkit}"
    dockerfile_text = f"FROM {BASE}\nCOPY . /app\nRUN {step}\n".encode()
    headers = [
        entry("Dockerfile"),
        *(entry(f"f{mode:o}", mode=mode) for mode in files),
        *(entry(f"d{mode:o}", tarfile.DIRTYPE, mode=mode) for mode in directories),
        entry("hard", tarfile.LNKTYPE, "f775", mode=0o775),
        entry("implied/file"),
    ]

    await build_upload(job, make_tar(*headers, content=dockerfile_text), use_buildkit=use_buildkit)

    use_buildkit = use_buildkit or await job.tools.engine.prefers_buildkit()
    for mode in files:
        stored = mode if use_buildkit and not is_engine("28.5-rootless") else mode & 0o777
        assert f"f{mode:o}={stored:o} 0:0" in job.log
    for mode in directories:
        assert f"d{mode:o}={mode:o} 0:0" in job.log
    assert "f775=775 0:0 2" in job.log
    assert "implied=755 0:0" in job.log
    assert ("drops the setuid and setgid bits of 2 files" in job.log) is not use_buildkit


@pytest.mark.parametrize("use_buildkit", [True, False])
@pytest.mark.parametrize(
    ("files", "command", "copied"),
    [
        ({}, {}, ["./Dockerfile", "./hello"]),
        (
            {".dockerignore": b"**/none\n"},
            {},
            ["./.dockerignore", "./Dockerfile", "./hello"],
        ),
        ({".dockerignore": b"Dockerfile\n.dockerignore\n"}, {}, ["./hello"]),
        ({"app/hello": b""}, {"context_path": "app"}, ["./hello"]),
        (
            {"app/hello": b"", "app/.dockerignore": b".dockerignore\n"},
            {"context_path": "app"},
            ["./hello"],
        ),
    ],
    ids=["nothing ignored", "others ignored", "ignored", "outside", "outside and ignored"],
)
async def test_a_step_copies_what_docker_build_gives_it(
    job: Job,
    registry: RegistryFixture,
    files: Mapping[str, bytes],
    command: Mapping[str, Any],
    copied: list[str],
    *,
    use_buildkit: bool,
) -> None:
    """The builder reads another text than the step: BuildKit's bases are pinned."""
    base = registry.reference("team/copied-base")
    await images.tag(job.tools.engine, BASE, base)
    await images.push(job.tools.engine, base, None, ignore, IDLE)
    show = "cd /c; find . -type f | sed 's/^/copied /'; sed 's/^/text /' Dockerfile 2>/dev/null"
    # No step of another case is found in the cache.
    case = " ".join([*files, *command, str(use_buildkit)])
    dockerfile_text = f"FROM {base}\nCOPY . /c\nRUN {show}; : {case}\n"
    job.server.create("app").commit({"Dockerfile": dockerfile_text.encode(), "hello": b"", **files})
    secrets = {"UNUSED": SecretStr("unused-canary")} if use_buildkit else {}

    await job.run(Grants(build_secrets=secrets), **command)

    found = re.findall(r"copied (\./\S+)$", job.log, re.MULTILINE)
    texts = re.findall(r"text (FROM .+)$", job.log, re.MULTILINE)
    assert sorted(found) == copied
    assert texts == ([f"FROM {base}"] if "./Dockerfile" in copied else [])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
async def test_a_damaged_context_is_refused_and_nothing_is_built(
    job: Job, pack: Callable[[bytes], bytes]
) -> None:
    dockerfile_text = f"FROM {BASE}\nRUN echo begun\n".encode()
    whole = make_tar(entry("Dockerfile"), entry("hello"), content=dockerfile_text)

    with pytest.raises(WharfError) as caught:
        await build_upload(job, pack(whole[:1536])[: None if pack is gzip.compress else 1024])

    assert (caught.value.code, caught.value.retryable) == (FaultCode.SOURCE_CORRUPT, False)
    assert caught.value.remedy
    assert "begun" not in job.log


@pytest.mark.parametrize(
    "evil",
    [
        entry("../evil"),
        entry("/etc/evil"),
        entry("out", tarfile.SYMTYPE, "/etc/passwd"),
        entry("out", tarfile.LNKTYPE, "../../evil"),
        entry("null", tarfile.CHRTYPE),
        entry("disk", tarfile.BLKTYPE),
        entry("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda header: f"{header.name} {header.type!r}",
)
async def test_a_hostile_context_is_refused_and_nothing_is_built(
    job: Job, evil: tarfile.TarInfo
) -> None:
    dockerfile_text = f"FROM {BASE}\nRUN echo begun\n".encode()

    with pytest.raises(WharfError) as caught:
        await build_upload(job, make_tar(entry("Dockerfile"), evil, content=dockerfile_text))

    assert (caught.value.code, caught.value.retryable) == (FaultCode.SOURCE_INVALID, False)
    assert caught.value.remedy
    assert "begun" not in job.log
    assert list(job.tools.workspaces.directory.iterdir()) == []


async def test_a_cancelled_build_ends_soon_and_leaves_no_sources(job: Job) -> None:
    job.server.create("app").commit(
        {"Dockerfile": f"FROM {BASE}\nRUN echo begun; /bin/busybox sleep 77\n".encode()}
    )
    running = asyncio.create_task(job.run())
    await wait_until(lambda: "begun" in job.log, seconds=20)
    during = list(job.tools.workspaces.directory.iterdir())

    running.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await running

    assert during
    assert list(job.tools.workspaces.directory.iterdir()) == []


def _read_all(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
