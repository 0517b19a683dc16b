"""Build an image from its sources: fetch and pack them, pull the base images, build."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.coroutines import end
from shared.errors import EngineError, WharfError
from shared.faults import FaultCode
from shared.jobs.commands import ImageBuild
from shared.jobs.results import ImageResult
from shared.jobs.sources import GitSource, UploadSource
from shared.reference import Reference
from shared.ssh.address import is_ssh
from worker.builds.base_policy import (
    is_enforced,
    require_allowed_bases,
    require_pinned_bases,
    require_signed_bases,
    require_signed_syntaxes,
)
from worker.builds.bases import FoundBase, pull_bases
from worker.builds.pins import open_pins
from worker.builds.sources.context import Context, find_inside, pack
from worker.builds.sources.dockerfile import Base, parse_bases, pin_bases
from worker.builds.sources.download import download
from worker.builds.sources.git.checkout import fetch
from worker.builds.sources.upload import unpack
from worker.engine import images
from worker.engine.builds.builder import BuildRequest
from worker.engine.builds.builder import build as run_build
from worker.engine.transport.connection import Engine
from worker.jobs.attempt import Attempt
from worker.jobs.joblog import JobLog, open_log
from worker.jobs.mask import Mask
from worker.jobs.second_opinion import Transfer, find_engine_login
from worker.jobs.tools import Tools, log_sender, progress_recorder
from worker.jobs.transfers import second_opinion_on_bases
from worker.login import CONTEXT_TOKEN, GIT_SSH_KEY, GIT_TOKEN, EngineLogin, Grants, Login

SILENCE = timedelta(hours=1)
"""A step may compile for long without output; a ping tells whether its Engine still answers."""

PING_SECONDS = 10.0
MAX_MISSED_PINGS = 3
"""An Engine under load may miss one ping of 10 s, but not three in a row."""

OTHER_LOGINS_SECONDS = 5.0
"""The time for registries that no base names; then the build continues without them."""

REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"


@dataclass(frozen=True)
class Sources:
    """The sources of a build, with ``commit`` and ``url`` if they are from a git repository.

    ``modes`` are the file modes of a tar, by inode. ``missing`` lists the parts that the build was
    allowed to miss.
    """

    root: Path
    commit: str | None = None
    url: str | None = None
    modes: Mapping[int, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        labels = {REVISION: self.commit, SOURCE: self.url}
        return {name: value for name, value in labels.items() if value}


async def build(command: ImageBuild, grants: Grants, attempt: Attempt, tools: Tools) -> ImageResult:
    """Build the image and return it; a failed build tags nothing.

    Raises:
        SourceError: the sources cannot be fetched, or may not be built.
        EngineError: a base is missing, or the build failed; the message shows no secret.
    """
    mask = Mask(_secrets(grants))
    try:
        async with tools.workspaces.folder() as folder, open_log(log_sender(attempt), mask) as log:
            return await _build(command, grants, attempt, tools, log=log, folder=folder)
    except WharfError as error:
        # The message contains the output of a step, which may hold a secret.
        error.message = mask(error.message)
        error.args = (error.message,)
        raise


async def _build(
    command: ImageBuild,
    grants: Grants,
    attempt: Attempt,
    tools: Tools,
    *,
    log: JobLog,
    folder: Path,
) -> ImageResult:
    sources = await _fetch(command, grants, tools, log, folder)
    archive = folder / "context.tar"
    context = await pack(
        sources.root, command.context_path, command.dockerfile, archive, modes=sources.modes
    )
    log.add(f"{context.files} files, {context.archive.stat().st_size} bytes")
    policy, stage = command.base_policy, command.stage or ""
    warnings = require_allowed_bases(
        policy, context.text, command.build_args, stage, name=context.dockerfile
    )
    warnings += await require_signed_syntaxes(command, context.text, grants, tools)
    is_held = is_enforced(policy)
    bases = parse_bases(context.text, command.build_args, stage, triggers=is_held)
    of_bases = await _find_logins(bases, grants, tools)
    logins = await _find_builder_logins(command, of_bases, grants, tools, log)
    found = await pull_bases(
        tools,
        command,
        bases,
        of_bases,
        log=log.add,
        on_progress=progress_recorder(attempt),
        is_held=is_held,
    )
    warnings += await require_signed_bases(policy, found, grants, tools)
    secrets = grants.build_secrets
    request = _make_request(
        command,
        context,
        sources.labels,
        secrets,
        use_buildkit=bool(secrets) or await tools.engine.prefers_buildkit(),
    )
    if context.set_id_files and not request.use_buildkit:
        log.add(
            f"the classic builder drops the setuid and setgid bits of {context.set_id_files} files"
        )
    image_id = await _run(
        command, request, context, found=found, logins=logins, tools=tools, log=log
    )
    local = await images.inspect(tools.engine, image_id)
    return ImageResult(
        reference=str(command.target),
        image_id=image_id,
        size_bytes=local.size_bytes,
        revision=sources.commit,
        bases=tuple(one.as_result() for one in found),
        warnings=(*(f"missing: {part}" for part in sources.missing), *warnings),
    )


async def _fetch(
    command: ImageBuild, grants: Grants, tools: Tools, log: JobLog, folder: Path
) -> Sources:
    match command.source:
        case GitSource() as source:
            secret = grants.secrets.get(GIT_SSH_KEY if is_ssh(source.url) else GIT_TOKEN)
            return await _fetch_git(command, source, secret, tools, log=log, folder=folder)
        case UploadSource() as source:
            token = grants.secrets.get(CONTEXT_TOKEN)
            return await _fetch_upload(source, token, tools, log, folder)


async def _fetch_git(
    command: ImageBuild,
    source: GitSource,
    secret: SecretStr | None,
    tools: Tools,
    *,
    log: JobLog,
    folder: Path,
) -> Sources:
    log.add(f"fetching {source.commit or source.branch or 'HEAD'} of {source.url}")
    checkout = await fetch(
        source, secret, folder / "sources", tools.networks, allow_missing=command.allow_missing
    )
    log.add(f"commit {checkout.commit}")
    for note in checkout.notes:
        log.add(note)
    for missing in checkout.missing:
        log.add(f"missing: {missing}")
    root = find_inside(checkout.directory, source.path)
    return Sources(root, checkout.commit, source.url, missing=checkout.missing)


async def _fetch_upload(
    source: UploadSource, token: SecretStr | None, tools: Tools, log: JobLog, folder: Path
) -> Sources:
    log.add(f"fetching context {source.context_id}, {source.size_bytes} bytes")
    archive, root = folder / "upload.tar", folder / "sources"
    await download(source, tools.api_url, token, archive, ca_file=tools.ca_file)
    await asyncio.to_thread(root.mkdir)
    unpacked = await unpack(archive, root)
    for note in unpacked.notes:
        log.add(note)
    await asyncio.to_thread(archive.unlink)
    return Sources(root, modes=unpacked.modes)


async def _find_logins(
    bases: Sequence[Base], grants: Grants, tools: Tools
) -> dict[Reference, EngineLogin]:
    """Return the logins of bases, each that of the longest prefix that fits.

    Raises:
        RegistryError: the login of a base may not be given to the Engine.
    """
    chosen: dict[Reference, Login] = {}
    for base in bases:
        if login := grants.login_for_base(base.reference):
            chosen[base.reference] = login
    found = await asyncio.gather(
        *(find_engine_login(Transfer("pull", *each), tools) for each in chosen.items())
    )
    pairs = zip(chosen, found, strict=True)
    return {target: login for target, login in pairs if login is not None}


async def _find_builder_logins(
    command: ImageBuild,
    of_bases: Mapping[Reference, EngineLogin],
    grants: Grants,
    tools: Tools,
    log: JobLog,
) -> list[EngineLogin]:
    """Return the logins that the builder may use for the whole build, one for each host.

    That of the registry that the application names is added also if no base is there, unless it is
    refused, which is only logged.
    """
    logins: dict[str, EngineLogin] = {}
    for login in of_bases.values():
        logins.setdefault(login.host, login)
    named = next((one.login for one in grants.grants if one.login.host == command.base_host), None)
    if named is None or named.host in logins:
        return list(logins.values())
    try:
        async with asyncio.timeout(OTHER_LOGINS_SECONDS):
            given = await tools.engine_login(named, Reference(named.host, "any", "latest"))
    except (WharfError, TimeoutError) as error:
        reason = error.message if isinstance(error, WharfError) else "no answer in time"
        log.add(f"the build gets no login for {named.host}, which no base names: {reason}")
        return list(logins.values())
    return [*logins.values(), *([given] if given else [])]


def _make_request(
    command: ImageBuild,
    context: Context,
    labels: dict[str, str],
    secrets: Mapping[str, SecretStr],
    *,
    use_buildkit: bool,
) -> BuildRequest:
    """Make the request; secrets need BuildKit even if the Engine prefers the classic builder."""
    return BuildRequest(
        command.target,
        context.dockerfile,
        command.stage or "",
        command.build_args,
        labels,
        command.platform or "",
        use_buildkit=use_buildkit,
        secrets=secrets,
    )


async def _run(
    command: ImageBuild,
    request: BuildRequest,
    context: Context,
    *,
    found: Sequence[FoundBase],
    logins: Sequence[EngineLogin],
    tools: Tools,
    log: JobLog,
) -> str:
    """Build on the bases that were found, and show them by the names that the Dockerfile has."""
    is_held = is_enforced(command.base_policy)
    async with open_pins(
        tools.engine, found if request.use_buildkit or is_held else (), context.archive.parent
    ) as pins:
        text = pin_bases(
            context.text, pins, command.build_args, command.stage or "", triggers=is_held
        )
        require_pinned_bases(command.base_policy, command, text, found)
        files = await context.make_files(text)

        def unpinned(line: str) -> str:
            for base, pin in pins.items():
                line = line.replace(pin, str(base.reference))
            return line

        building = run_build(
            tools.engine,
            request,
            files,
            logins,
            on_line=lambda line: log.add(unpinned(line)),
            idle=SILENCE,
        )
        needed = [(one.base.reference, one.login) for one in found]
        try:
            async with second_opinion_on_bases(needed, tools):
                return await _supervised(tools.engine, building)
        except EngineError as error:
            error.message = unpinned(error.message)
            error.args = (error.message,)
            raise


async def _supervised(engine: Engine, work: Coroutine[Any, Any, str]) -> str:
    """Return the result of ``work`` unless the Engine stops answering.

    Raises:
        EngineError: ``engine_unreachable``, the Engine does not even answer pings.
    """
    working = asyncio.create_task(work)
    missed_pings = 0
    try:
        while not working.done():
            await asyncio.wait({working}, timeout=PING_SECONDS)
            missed_pings = 0 if working.done() or await _answers(engine) else missed_pings + 1
            if missed_pings == MAX_MISSED_PINGS:
                raise EngineError(
                    FaultCode.ENGINE_UNREACHABLE,
                    "build: the Docker Engine stopped answering during the build",
                    remedy="Check that Docker on this server runs and is not overloaded.",
                )
        return await working
    finally:
        await end(working)


async def _answers(engine: Engine) -> bool:
    try:
        await engine.ping()
    except EngineError:
        return False
    return True


def _secrets(grants: Grants) -> list[str]:
    logins = [grant.login.secret for grant in grants.grants]
    others = [*grants.secrets.values(), *grants.build_secrets.values()]
    return [secret.get_secret_value() for secret in [*logins, *others]]
