"""The handlers, one a kind: each turns a command into a result, or raises what went wrong."""

from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

import structlog
from pydantic import BaseModel

from shared.errors import EngineError, InvalidInputError
from shared.jobs.commands import (
    Command,
    ComposePull,
    ImagePull,
    ImagePush,
    ImageTag,
    RegistryTest,
)
from shared.networks import parse_networks
from shared.settings import WorkerSettings
from worker.engine.connection import Engine
from worker.login import Grants
from worker.server.attempt import Attempt, Work
from worker.server.handlers import compose, images
from worker.server.handlers.registries import run_test
from worker.server.handlers.tools import Tools

log = structlog.get_logger()


async def open_work(
    stack: AsyncExitStack, settings: WorkerSettings, docker_host: str
) -> tuple[Work, dict[str, Any]]:
    """Open the Engine; gives the handlers and the Engine's description (empty while it is away)."""
    engine = await stack.enter_async_context(Engine.open(docker_host))
    tools = Tools(engine, parse_networks(settings.registry_networks))

    async def work(command: Command, grants: Grants, attempt: Attempt) -> BaseModel:
        match command:
            case RegistryTest():
                return await run_test(command, grants, tools)
            case ImagePull():
                return await images.pull(command, grants, attempt, tools)
            case ComposePull():
                return await compose.pull(command, grants, attempt, tools)
            case ImagePush():
                return await images.push(command, grants, attempt, tools)
            case ImageTag():
                return await images.tag(command, attempt, tools)
            case _:
                raise InvalidInputError(f"no handler for {command.kind}")

    return work, await _describe(engine)


async def _describe(engine: Engine) -> dict[str, Any]:
    try:
        return asdict(await engine.info())
    except EngineError as error:
        log.warning("engine_away", code=error.code)
        return {}
