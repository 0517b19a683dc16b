"""Tools for handlers that need the Engine only for its registry settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from shared.networks import parse_networks
from tests.worker.engine.parts import open_scripted_engine
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.tools import DeploymentTools
from worker.engine.transport.connection import Engine
from worker.jobs.workspaces import Workspaces


@asynccontextmanager
async def open_loopback_engine(directory: Path) -> AsyncIterator[str]:
    """Run an Engine that only reports registries on loopback; yield its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/info"):
            return web.json_response({"message": "not here"}, status=404)
        return web.json_response({"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}})

    async with open_scripted_engine(directory, answer) as scripted:
        yield scripted.docker_host


@asynccontextmanager
async def open_tools(directory: Path) -> AsyncIterator[DeploymentTools]:
    """Open tools with such an Engine."""
    async with (
        open_loopback_engine(directory) as docker_host,
        Engine.open(docker_host) as engine,
    ):
        yield make_tools(engine, "loopback", directory)


def make_tools(engine: Engine, networks: str, directory: Path) -> DeploymentTools:
    """Make tools for an Engine, with a worker's files below the directory."""
    return DeploymentTools(
        engine,
        parse_networks(networks),
        Workspaces.open(directory / "builds"),
        journal=RecoveryJournal(engine, directory / "begun.json"),
    )
