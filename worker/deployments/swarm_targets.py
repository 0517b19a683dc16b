"""The Swarm in which one deployment runs: its service, its nodes and the free ports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ServiceReplace
from shared.jobs.containers import PublishedPort
from worker.deployments.targets import DeploymentTarget
from worker.engine import containers, images
from worker.engine.containers import APPLICATION, DEPLOYMENT, STOP_TIMEOUT
from worker.engine.swarm import services
from worker.engine.swarm.nodes import Node, known_platforms, nodes
from worker.engine.swarm.service_spec import STOP_FIRST, ServiceSpec, order
from worker.engine.swarm.service_state import Service, Task
from worker.jobs.second_opinion import Transfer, look_ahead, second_opinion
from worker.jobs.tools import Tools
from worker.login import EngineLogin
from worker.oci.providers.quotas import counts_manifests


@dataclass
class ServiceTarget(DeploymentTarget):
    """A deployment as a service of a Swarm; ``engine`` is that of a manager.

    ``is_checked`` is true if the application or its image has a health check.
    """

    command: ServiceReplace
    is_checked: bool = False

    @property
    def grace(self) -> timedelta:
        """The time for its tasks to stop by themselves."""
        seconds = self.command.stop_grace_seconds
        return STOP_TIMEOUT if seconds is None else timedelta(seconds=seconds)

    async def inspect_image(self) -> None:
        """Find out whether the image has a health check, if the Engine has the image."""
        image = await images.find(self.engine, str(self.command.target))
        given = self.command.health_check is not None
        self.is_checked = given or (image is not None and image.has_health_check)

    async def require_manager(self) -> None:
        """Raise `EngineError` (``not_a_swarm_manager``, ``engine_unreachable``)."""
        info = await self.engine.info()
        here = f"the Docker Engine of {info.name}"
        match info.swarm:
            case "manager":
                return
            case "inactive":
                raise self.error(FaultCode.NOT_A_SWARM_MANAGER, f"{here} is not part of a Swarm")
            case "worker":
                raise self.error(FaultCode.NOT_A_SWARM_MANAGER, f"{here} is a worker of a Swarm")
            case "locked":
                raise self.error(
                    FaultCode.NOT_A_SWARM_MANAGER,
                    f"the Swarm of {here} is locked",
                    remedy="Unlock the Swarm: docker swarm unlock.",
                )
            case state:
                raise self.error(FaultCode.ENGINE_UNREACHABLE, f"the Swarm of {here} is {state}")

    async def find(self) -> Service | None:
        """Return the application's service; its name may be an old one, as a Swarm cannot rename.

        Raises:
            EngineError: ``name_taken``, two services have the application's label.
        """
        found = await services.find(self.engine, APPLICATION, self.command.application_id)
        if len(found) > 1:
            names = " and ".join(sorted(service.name for service in found))
            raise self.error(
                FaultCode.NAME_TAKEN,
                f"several services ({names}) have the label of this application",
                remedy="Keep the right one, and remove the others with docker service rm, or "
                f"remove their label {APPLICATION}.",
            )
        return found[0] if found else None

    async def require_no_container(self) -> None:
        """Raise `EngineError` (``other_runtime``) if it runs as a plain container."""
        for container in await containers.find(
            self.engine, APPLICATION, self.command.application_id
        ):
            raise self.error(
                FaultCode.OTHER_RUNTIME,
                f"the application's runtime is service, but it runs here as the container "
                f"{container.name}",
                remedy=f"Remove the container (docker rm --force {container.name}) and deploy "
                "again, or set the application's runtime to container.",
            )

    async def require_free_name(self) -> None:
        """Raise `EngineError` (``name_taken``) if a foreign service has the name."""
        name = self.command.name
        if await services.find_by_name(self.engine, name) is not None:
            raise self.error(
                FaultCode.NAME_TAKEN, f"the service {name} does not belong to this application"
            )

    async def running_tasks(self, service: Service) -> list[Task]:
        """Return the running tasks of the service's present spec."""
        tasks = await services.tasks(self.engine, service.service_id)
        return [task for task in tasks if task.is_running and service.is_current(task)]

    async def find_platforms(
        self, transfer: Transfer, login: EngineLogin | None, tools: Tools
    ) -> tuple[str, ...]:
        """Return the platforms on which the image may be placed.

        Nodes report any failure of a pull as a missing image. So the registry is asked here first,
        with the same login. Where a manifest that is read costs a pull, none is read if all ready
        nodes have one platform: the image is placed on that one.

        Raises:
            EngineError, RegistryError: the registry refuses the pull, or cannot be reached.
        """
        registry = transfer.reference.registry
        if counts_manifests(registry):
            there = await nodes(self.engine)
            alike = {f"{node.os}/{node.architecture}" for node in there if node.is_ready}
            if len(alike) == 1:
                await look_ahead(transfer, tools)
                self.log.add(
                    f"{registry} counts each manifest that is read as a pull: the platform is not "
                    "checked before the pull"
                )
                return tuple(alike)
        async with second_opinion(transfer, tools):
            held = await images.distribution(self.engine, transfer.reference, login)
        return known_platforms(held.platforms)

    async def make_spec(
        self, environment: Mapping[str, SecretStr], platforms: tuple[str, ...], name: str
    ) -> ServiceSpec:
        """Make the service spec after checking the nodes and the ports.

        Raises:
            EngineError: ``platform_missing``, ``no_suitable_node`` or ``port_taken``.
        """
        command = self.command
        spec = ServiceSpec(
            name=name,
            reference=command.target,
            labels={APPLICATION: command.application_id, DEPLOYMENT: command.deployment_id},
            replicas=command.replicas,
            environment=environment,
            health_check=command.health_check,
            ports=command.ports,
            mounts=command.mounts,
            platforms=platforms,
            has_health_check=self.is_checked,
            stop_signal=command.stop_signal,
            grace=self.grace,
            steady=self.readiness.steady,
        )
        ready = self._require_nodes(spec, await nodes(self.engine))
        await self._require_ports(spec, ready)
        return spec

    async def _require_ports(self, spec: ServiceSpec, ready: set[str]) -> None:
        """Check the ports on this Engine and those of the Swarm's services.

        Containers of other nodes are not visible. A Swarm ignores ports that a container has. For
        a port in mode host it would stop the old task, find no node for the new one, and need a
        minute until the old version runs again.
        """
        ingress = [port for port in spec.ports if port.publish_mode == "ingress"]
        if names := await containers.find_publishing(self.engine, ingress):
            raise self._port_taken(ingress, f"the container {', '.join(names)} uses")
        if not (ports := [port for port in spec.ports if port.publish_mode == "host"]):
            return
        taken = await services.nodes_using(self.engine, ports, self.command.application_id)
        if await containers.find_publishing(self.engine, ports):
            taken.add((await self.engine.info()).node_id)
        if len(ready - taken) < spec.replicas:
            raise self._port_taken(
                ports, f"another service or container on {len(ready & taken)} nodes uses"
            )

    def _port_taken(self, ports: Sequence[PublishedPort], holder: str) -> EngineError:
        numbers = ", ".join(str(port.published_port) for port in ports)
        return self.error(FaultCode.PORT_TAKEN, f"{holder} a published port ({numbers})")

    def _require_nodes(self, spec: ServiceSpec, there: list[Node]) -> set[str]:
        """Return the ids of the ready nodes that can run the image."""
        fit = [node for node in there if node.runs(spec.platforms)]
        if not fit:
            has = sorted({f"{node.os}/{node.architecture}" for node in there})
            raise self.error(
                FaultCode.PLATFORM_MISSING,
                f"the image is for {', '.join(spec.platforms)}, the nodes are {', '.join(has)}",
            )
        ready = {node.node_id for node in fit if node.is_ready}
        needed = spec.replicas if order(spec.ports) == STOP_FIRST else 1
        if len(ready) < needed:
            raise self.error(
                FaultCode.NO_SUITABLE_NODE,
                f"ready nodes: {len(ready)}, needed for {spec.replicas} replicas: {needed}",
            )
        return ready
