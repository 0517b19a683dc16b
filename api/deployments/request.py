"""Where a deployment goes, whoever asks for it, and its being stored once."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.applications.permissions import find_servers, require_builder, require_host_paths
from api.applications.queries import find_application
from api.builds.plan import BuildRegistries
from api.builds.procedures import find_registries
from api.builds.store import is_new
from api.deployments.plan import make_deleted, rollout_of
from api.deployments.queries import AcceptedDeployment, find_deployment
from api.fields.shapes import Id, Input, Text
from api.procedure.context import Context
from shared.database import Connection
from shared.deployments.run_settings import RunSettings
from shared.deployments.store import DeploymentRequest, Image, Retained, store_deployment
from shared.errors import UnmetConditionError
from shared.jobs.permissions import require_allowed
from shared.models import Application, Server

# Read with the application locked, which control locks too before it asks for a deletion.
IS_DELETED = """
SELECT FROM build
 WHERE build_id = %(build_id)s AND image_deleted_at IS NOT NULL
   AND repository_of(reference) = repository_of(%(reference)s)
UNION ALL
SELECT FROM rollback r JOIN job j ON j.job_id = r.delete_job_id
 WHERE r.reference = %(reference)s AND r.build_id = %(build_id)s AND r.dropped_at IS NOT NULL
   AND (j.finished_at IS NULL
     OR j.state = 'succeeded' AND j.result->>'outcome' IN ('deleted', 'gone'))
LIMIT 1
"""


class DeploymentInput(Input):
    """The options of any deployment."""

    title: Text = ""
    description: Text = ""


class ApplicationDeploymentInput(DeploymentInput):
    application_id: Id


@dataclass(frozen=True)
class Target:
    """An application that may be run, and where."""

    application: Application
    server_ids: Sequence[str]
    registries: BuildRegistries
    servers: Sequence[Server] = ()

    def require_server(self) -> None:
        """Raises `UnmetConditionError`: ``no_target_server``."""
        if not self.server_ids:
            raise UnmetConditionError(
                "no_target_server",
                f"the application {self.application.name} has no server to run on",
                remedy="Give it serverIds with application.update.",
            )

    def _require_allowed(self, image: Image, settings: RunSettings) -> None:
        """Raises `UnmetConditionError`: ``registry_not_allowed``, ``host_path_not_allowed``."""
        for registry in self.registries:
            if registry is not None and registry.registry_id == image.registry_id:
                for server_id in self.server_ids:
                    require_allowed(registry, server_id, self.application.application_id)
        binds = (mount.source for mount in settings.mounts if mount.type == "bind")
        if settings.runtime != "none":
            require_host_paths(self.application.name, binds, self.servers)

    def request(
        self,
        context: Context,
        image: Image,
        settings: RunSettings,
        *,
        build_id: str,
        retained: Retained | None,
        title: str,
        description: str,
        rollback_id: str | None = None,
    ) -> DeploymentRequest:
        """The deployment of this image to all servers, with the variables of now.

        Raises:
            UnmetConditionError: ``no_target_server``, ``registry_not_allowed``,
                ``host_path_not_allowed``.
        """
        self.require_server()
        self._require_allowed(image, settings)
        return DeploymentRequest(
            deployment_id=context.job_id,
            organization_id=context.organization_id,
            application_id=self.application.application_id,
            build_id=build_id,
            image=image,
            settings=settings,
            server_ids=self.server_ids,
            rollout=rollout_of(self.application),
            environment=self.application.env,
            retained=retained,
            title=title,
            description=description,
            requested_by=context.caller.api_key_id,
            rollback_id=rollback_id,
        )


async def find_target(context: Context, application_id: str) -> Target:
    """The application, which the caller may deploy.

    Raises:
        NotFoundError: no such application, or another organization's.
        ForbiddenError: the application names other keys.
    """
    async with context.transaction() as session:
        application, server_ids = await find_application(session, context, application_id)
        require_builder(context.caller, application)
        registries = await find_registries(session, context, application)
        servers = await find_servers(session, context, server_ids)
    return Target(application, server_ids, registries, servers)


async def submit(context: Context, target: Target, order: DeploymentRequest) -> AcceptedDeployment:
    """Store a deployment, if this request has not done so already, and show it.

    Raises:
        UnmetConditionError: ``image_deleted``.
    """
    pool = context.resources.pool
    async with pool.connection() as connection, connection.transaction():
        if await is_new(connection, context, target.application):
            await _require_image(connection, order)
            await store_deployment(connection, order)
    return await show(context)


async def _require_image(connection: Connection, order: DeploymentRequest) -> None:
    image = {"build_id": order.build_id, "reference": order.image.reference}
    if await (await connection.execute(IS_DELETED, image)).fetchone() is not None:
        raise make_deleted(order.image.reference)


async def show(context: Context) -> AcceptedDeployment:
    """The deployment that this request has stored."""
    return AcceptedDeployment.of(await find_deployment(context, context.job_id))
