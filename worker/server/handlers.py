"""Dispatch each command to the handler of its kind, which returns a result or raises."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from pydantic import BaseModel

from shared.errors import InvalidInputError
from shared.jobs.commands import (
    ApplicationControl,
    ApplicationLogs,
    Command,
    ComposePull,
    ContainerReplace,
    ImageBuild,
    ImageCopy,
    ImageDelete,
    ImageInspect,
    ImagePull,
    ImagePush,
    ImageRepositories,
    ImageScan,
    ImageTag,
    ImageTags,
    ImageVerify,
    RegistryTest,
    Replace,
    ServerCheck,
    ServiceLogin,
    ServiceReplace,
    SignatureSign,
    SignatureVerify,
)
from shared.networks import parse_networks
from shared.settings import WorkerSettings
from worker.builds import build as builds
from worker.builds.pins import removing_stale_pins
from worker.deployments import containers, control, logs, service_login, services
from worker.deployments.host_paths import HostPaths
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.tools import DeploymentTools
from worker.engine.transport.connection import Engine
from worker.images import compose, signatures, verification
from worker.images import copy as copies
from worker.images import pull_push_tag as images
from worker.jobs.attempt import Attempt
from worker.jobs.engine_certificates import EngineCertificates, WrittenFiles
from worker.jobs.tools import Tools
from worker.jobs.workspaces import Workspaces
from worker.login import Grants
from worker.machine import describe_machine
from worker.registries import contents
from worker.registries.live_test import run_live_test
from worker.scans.scan import scan
from worker.server.engine_check import check_engine
from worker.server.identity import find_ca
from worker.server.runtime import OpenedWork

RegistryRead = ImageInspect | ImageTags | ImageRepositories
"""Commands that only read what is in a registry."""

Signing = SignatureSign | SignatureVerify


async def open_work(
    stack: AsyncExitStack, settings: WorkerSettings, docker_host: str
) -> OpenedWork:
    """Open the Engine for all handlers, and start the recovery of deployments and builds.

    Raises:
        SetupError: a file in the state directory cannot be read.
    """
    engine = await stack.enter_async_context(Engine.open(docker_host))
    networks = parse_networks(settings.registry_networks)
    host_paths = HostPaths.parse(settings.host_paths, docker_host)
    workspaces = Workspaces.open(settings.state_dir / "builds")
    journal = RecoveryJournal(engine, settings.state_dir / "unfinished.json")
    await stack.enter_async_context(journal.running_recovery())
    await stack.enter_async_context(removing_stale_pins(engine, workspaces))
    tools = DeploymentTools(
        engine,
        networks,
        workspaces,
        settings.url,
        ca_file=find_ca(settings.state_dir),
        journal=journal,
        host_paths=host_paths,
        engine_certificates=EngineCertificates(
            settings.certificates_dir, WrittenFiles.open(settings.state_dir / "certificates.json")
        ),
    )

    stack.push_async_callback(tools.clean_ups.finish)

    async def work(command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        return await _begin(command, grants, attempt, replace(tools, quotas=attempt.quotas))

    describe = partial(describe_machine, engine, host_paths.allowed)
    return OpenedWork(work, describe, journal, tools.engine_certificates)


def _begin(
    command: Command, grants: Grants, attempt: Attempt, tools: DeploymentTools
) -> Awaitable[BaseModel]:
    """Return the awaitable work of the command's handler."""
    handling: Awaitable[BaseModel]
    match command:
        case (
            RegistryTest()
            | ImageCopy()
            | ImageVerify()
            | ImageDelete()
            | (ImageInspect() | ImageTags() | ImageRepositories())
            | (SignatureSign() | SignatureVerify())
        ):
            handling = _run_at_registry(command, grants, attempt, tools)
        case ServerCheck():
            handling = check_engine(tools)
        case ImagePull() | ComposePull() | ImagePush() | ImageTag() | ImageScan():
            handling = _use_image(command, grants, attempt, tools)
        case ImageBuild():
            handling = builds.build(command, grants, attempt, tools)
        case ApplicationLogs():
            handling = logs.read_logs(command, tools)
        case Replace() | ApplicationControl() | ServiceLogin():
            handling = _change_application(command, grants, attempt, tools)
        case _:
            raise _make_unknown_error(command.kind)
    return handling


def _use_image(
    command: ImagePull | ComposePull | ImagePush | ImageTag | ImageScan,
    grants: Grants,
    attempt: Attempt,
    tools: Tools,
) -> Awaitable[BaseModel]:
    """Return the work of a kind that uses images of the Engine."""
    match command:
        case ImagePull():
            return images.pull(command, grants, attempt, tools)
        case ComposePull():
            return compose.pull(command, grants, attempt, tools)
        case ImagePush():
            return images.push(command, grants, attempt, tools)
        case ImageTag():
            return images.tag(command, attempt, tools)
        case ImageScan():
            return scan(command, grants, attempt, tools)


def _make_unknown_error(kind: str) -> InvalidInputError:
    return InvalidInputError(
        f"this server's worker cannot do jobs of the kind {kind}", remedy="Update the worker."
    )


def _change_application(
    command: Replace | ApplicationControl | ServiceLogin,
    grants: Grants,
    attempt: Attempt,
    tools: DeploymentTools,
) -> Awaitable[BaseModel]:
    """Return the work of a kind that changes what runs of an application."""
    match command:
        case ContainerReplace():
            return containers.replace_container(command, grants, attempt, tools)
        case ServiceReplace():
            return services.replace_service(command, grants, attempt, tools)
        case ServiceLogin():
            return service_login.renew_login(command, grants, tools)
        case ApplicationControl():
            return control.control_application(command, attempt, tools)
        case _:
            raise _make_unknown_error(command.kind)


def _run_at_registry(
    command: RegistryTest | ImageCopy | ImageVerify | ImageDelete | RegistryRead | Signing,
    grants: Grants,
    attempt: Attempt,
    tools: Tools,
) -> Awaitable[BaseModel]:
    """Return the work of a kind that uses registries only, and the Engine for its settings."""
    match command:
        case RegistryTest():
            return run_live_test(command, grants, attempt, tools)
        case ImageCopy():
            return copies.copy(command, grants, attempt, tools)
        case ImageVerify():
            return verification.verify(command, grants, tools)
        case ImageDelete():
            return verification.delete(command, grants, attempt, tools)
        case SignatureSign() | SignatureVerify():
            return _use_signatures(command, grants, tools)
        case _:
            return _read_registry(command, grants, tools)


def _use_signatures(command: Signing, grants: Grants, tools: Tools) -> Awaitable[BaseModel]:
    match command:
        case SignatureSign():
            return signatures.sign(command, grants, tools)
        case SignatureVerify():
            return signatures.verify_signatures(command, grants, tools)


def _read_registry(command: RegistryRead, grants: Grants, tools: Tools) -> Awaitable[BaseModel]:
    """Return the work of a kind that only reads what is in a registry."""
    match command:
        case ImageInspect():
            return contents.inspect_image(command, grants, tools)
        case ImageTags():
            return contents.list_tags(command, grants, tools)
        case ImageRepositories():
            return contents.list_repositories(command, grants, tools)
