"""Applications whose images are in one repository of a real registry, and what retention does."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from shared.ids import make_id
from shared.jobs.commands import ImageDelete
from tests.worker.oci.parts import ALLOWED
from tests.worker.oci.sample_images import Image, RepositoryFixture
from tests.world import EnrolledServer, World
from worker.control.image_usage import recheck
from worker.control.maintenance.rollback_points import reconcile_points
from worker.images.verification import delete
from worker.jobs.attempt import Attempt
from worker.jobs.tools import Tools
from worker.login import Grant, Grants, Login

REPOSITORY = "team/shop"


@dataclass
class RetentionScenario:
    """Rows as the API and control write them; the server's part is done by the real handler."""

    world: World
    server: EnrolledServer
    registry_id: str
    host: str
    tools: Tools
    application_id: str
    organization_id: str
    versions: int = 0
    ended: list[dict[str, Any]] = field(default_factory=list)

    @property
    def depot(self) -> RepositoryFixture:
        return RepositoryFixture(self.host, REPOSITORY)

    @property
    def place(self) -> str:
        return f"{self.host}/{REPOSITORY}"

    async def build(self, image: Image, tag: str, *, outcome: str | None = "succeeded") -> str:
        """A build that has pushed its image; nothing of it where it has not ended."""
        if outcome == "succeeded":
            await self.depot.put(tag, image)
        self.versions += 1
        build_id = make_id()
        await self.world.owner.execute(
            "INSERT INTO build (build_id, organization_id, application_id, version, title,"
            " reference, make_job_id, outcome, digest, finished_at)"
            " VALUES (%(id)s, %(organization)s, %(application)s, %(version)s, '', %(reference)s,"
            " %(id)s, %(outcome)s::varchar, %(digest)s,"
            " CASE WHEN %(outcome)s::varchar IS NOT NULL THEN now() END)",
            {
                "id": build_id,
                "organization": self.organization_id,
                "application": self.application_id,
                "version": self.versions,
                "reference": f"{self.place}:{tag}",
                "outcome": outcome,
                "digest": image.digest if outcome else None,
            },
        )
        return build_id

    async def deploy(
        self, image: Image, build_id: str, *, outcome: str | None = "succeeded"
    ) -> str:
        """A deployment of a build to the server; it has ended there, or has not begun."""
        deployment_id = make_id()
        values = {
            "id": deployment_id,
            "organization": self.organization_id,
            "application": self.application_id,
            "build": build_id,
            "reference": f"{self.place}@{image.digest}",
            "digest": image.digest,
            "outcome": outcome,
            "server": self.server.server_id,
        }
        await self.world.owner.execute(
            "INSERT INTO deployment (deployment_id, organization_id, application_id, build_id,"
            " title, description, reference, digest, settings, on_failure, point_due, outcome,"
            " finished_at) VALUES (%(id)s, %(organization)s, %(application)s, %(build)s, '', '',"
            " %(reference)s, %(digest)s, '{}', 'rollback', false, %(outcome)s::varchar,"
            " CASE WHEN %(outcome)s::varchar IS NOT NULL THEN now() END)",
            values,
        )
        if self.organization_id == self.world.organization_id:
            await self.world.owner.execute(
                "INSERT INTO deployment_server (deployment_id, server_id, organization_id,"
                " pull_job_id, outcome, finished_at) VALUES (%(id)s, %(server)s, %(organization)s,"
                " %(id)s, %(outcome)s::varchar,"
                " CASE WHEN %(outcome)s::varchar IS NOT NULL THEN now() END)",
                values,
            )
        return deployment_id

    async def point(self, image: Image, build_id: str, settings: str = "{}") -> str:
        """A rollback point of a build."""
        rollback_id = make_id()
        await self.world.owner.execute(
            "INSERT INTO rollback (rollback_id, organization_id, application_id, deployment_id,"
            " build_id, version, reference, digest, registry_id, settings, settings_hash)"
            " VALUES (%s, %s, %s, %s, %s, 1, %s, %s, %s, %s, md5(%s))",
            (
                rollback_id,
                self.organization_id,
                self.application_id,
                rollback_id,
                build_id,
                f"{self.place}@{image.digest}",
                image.digest,
                self.registry_id,
                settings,
                settings,
            ),
        )
        return rollback_id

    async def drop(self, rollback_id: str) -> None:
        """As `rollback.delete` does."""
        await self.world.api.execute(
            "UPDATE rollback SET dropped_at = now() WHERE rollback_id = %s", (rollback_id,)
        )

    async def keep(self, count: int) -> None:
        await self.world.owner.execute(
            "UPDATE application SET rollbacks_to_keep = %s WHERE application_id = %s",
            (count, self.application_id),
        )

    async def retain(self) -> dict[str, Any] | None:
        """One minute of control, the job that came of it, and the next minute.

        Gives the job's result; ``None`` where nothing was asked for.
        """
        await reconcile_points(self.world.control)
        result = None
        for job in await self.world.release():
            job_id, attempt = job.job_id, job.attempt
            ready = await recheck(self.world.control, job)
            called = {"job_id": job_id, "attempt": attempt}
            await self.server.call("claim", "first", **called)
            command = ImageDelete.model_validate(ready.command)
            result = await self._delete(command)
            reported = {**called, "outcome": "succeeded", "result": result}
            answer = await self.server.call("finish", "first", **reported)
            assert answer["status"] == "recorded", answer
        await reconcile_points(self.world.control)
        return result

    async def _delete(self, command: ImageDelete) -> dict[str, Any]:
        login = Login(host=self.host, username="alice", secret=SecretStr("unused"), tls=ALLOWED)
        rights = frozenset({"pull", "delete"})
        given = Grants(grants=(Grant(login=login, repository=REPOSITORY, rights=rights),))
        result = await delete(command, given, Attempt("job", 1), self.tools)
        return result.model_dump(mode="json", by_alias=True)

    async def has(self, name: str) -> bool:
        return (await self.depot.get(f"manifests/{name}"))[0] == 200

    async def row(self, build_id: str) -> dict[str, Any]:
        [row] = await self.world.rows("SELECT * FROM build WHERE build_id = %s", build_id)
        return row

    async def points(self) -> list[str]:
        """Return the endpoints that control still has, dropped ones included."""
        rows = await self.world.rows(
            "SELECT rollback_id FROM rollback WHERE application_id = %s ORDER BY rollback_id",
            self.application_id,
        )
        return [row["rollback_id"] for row in rows]


async def add_application(world: World, organization_id: str, name: str) -> str:
    application_id = make_id()
    await world.owner.execute(
        "INSERT INTO application (application_id, organization_id, name, app_name, description,"
        " git_build_path, build_type, dockerfile, docker_context_path)"
        " VALUES (%s, %s, %s, %s, '', '/', 'dockerfile', 'Dockerfile', '.')",
        (application_id, organization_id, name, name),
    )
    return application_id
