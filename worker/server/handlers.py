"""The handlers, one a kind: each turns a command into a result, or raises what went wrong."""

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial

from pydantic import BaseModel

from shared.errors import InvalidInputError
from shared.jobs.commands import (
    Command,
    ComposePull,
    ContainerReplace,
    ImageBuild,
    ImageCopy,
    ImageDelete,
    ImagePull,
    ImagePush,
    ImageTag,
    ImageVerify,
    RegistryTest,
    ServerCheck,
    ServiceReplace,
)
from shared.networks import parse_networks
from shared.settings import WorkerSettings
from worker.builds import build as builds
from worker.deployments import containers, services
from worker.deployments.host_paths import HostPaths
from worker.deployments.recovery import Unfinished
from worker.deployments.tools import DeploymentTools
from worker.engine.transport.connection import Engine
from worker.images import compose
from worker.images import copy as copies
from worker.images import pull_push_tag as images
from worker.images import verification as proofs
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.jobs.workspaces import Workspaces
from worker.login import Grants
from worker.machine import describe_machine
from worker.registries.diagnosis import run_test
from worker.server.engine_check import check_engine
from worker.server.runtime import Opened


async def open_work(stack: AsyncExitStack, settings: WorkerSettings, docker_host: str) -> Opened:
    """Open the Engine for all the handlers, and put right what the worker before left there.

    Raises:
        SetupError: the state directory has something that cannot be read.
    """
    engine = await stack.enter_async_context(Engine.open(docker_host))
    networks = parse_networks(settings.registry_networks)
    host_paths = HostPaths.parse(settings.host_paths, docker_host)
    workspaces = Workspaces.open(settings.state_dir / "builds")
    unfinished = Unfinished(engine, settings.state_dir / "unfinished.json")
    await stack.enter_async_context(unfinished.watching())
    tools = DeploymentTools(
        engine,
        networks,
        workspaces,
        settings.url,
        unfinished=unfinished,
        host_paths=host_paths,
    )

    async def work(command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        return await _begin(command, grants, attempt, tools)

    return Opened(work, partial(describe_machine, engine, host_paths.allowed), unfinished)


def _begin(
    command: Command, grants: Grants, attempt: Attempt, tools: DeploymentTools
) -> Awaitable[BaseModel]:
    """The work of one kind, to be waited for."""
    working: Awaitable[BaseModel]
    match command:
        case RegistryTest() | ImageCopy() | ImageVerify() | ImageDelete():
            working = _at_registry(command, grants, attempt, tools)
        case ServerCheck():
            working = check_engine(tools)
        case ImagePull():
            working = images.pull(command, grants, attempt, tools)
        case ComposePull():
            working = compose.pull(command, grants, attempt, tools)
        case ImagePush():
            working = images.push(command, grants, attempt, tools)
        case ImageTag():
            working = images.tag(command, attempt, tools)
        case ImageBuild():
            working = builds.build(command, grants, attempt, tools)
        case ContainerReplace():
            working = containers.replace_container(command, grants, attempt, tools)
        case ServiceReplace():
            working = services.replace_service(command, grants, attempt, tools)
        case _:
            raise InvalidInputError(f"no handler for {command.kind}")
    return working


def _at_registry(
    command: RegistryTest | ImageCopy | ImageVerify | ImageDelete,
    grants: Grants,
    attempt: Attempt,
    tools: Tools,
) -> Awaitable[BaseModel]:
    """What is done with registries alone; the Engine is only asked how they are reached."""
    match command:
        case RegistryTest():
            return run_test(command, grants, tools)
        case ImageCopy():
            return copies.copy(command, grants, attempt, tools)
        case ImageVerify():
            return proofs.prove(command, grants, tools)
        case ImageDelete():
            return proofs.delete(command, grants, attempt, tools)
