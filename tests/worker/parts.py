"""Tools for handlers that need the Engine only for its registry settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from shared.networks import RegistryNetworks, parse_networks
from tests.worker.engine.parts import ALLOWED, open_scripted_engine
from worker.deployments.recovery import RecoveryJournal
from worker.deployments.tools import DeploymentTools
from worker.engine.transport.connection import Engine
from worker.jobs.engine_view import EngineView
from worker.jobs.workspaces import Workspaces
from worker.oci.transport.settings import ConnectionSettings


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


class PermissiveView(EngineView):
    """An Engine's view that allows plain HTTP also where no registry, and so no login, is given."""

    async def settings(self, engine: Engine, networks: RegistryNetworks) -> ConnectionSettings:
        """Return the settings with the permission."""
        return replace(await super().settings(engine, networks), tls=ALLOWED)


def make_tools(engine: Engine, networks: str, directory: Path) -> DeploymentTools:
    """Make tools for an Engine, with a worker's files below the directory."""
    return DeploymentTools(
        engine,
        parse_networks(networks),
        Workspaces.open(directory / "builds"),
        journal=RecoveryJournal(engine, directory / "begun.json"),
        engine_view=PermissiveView(),
    )
