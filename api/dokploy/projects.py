"""Projects and environments: an organization has one of each, with all of its applications.

Pipelines find an application by its name here. The ids are the organization's.
"""

from typing import Self

from pydantic import Field

from api.applications.procedures import get_all as get_applications
from api.applications.schemas import ApplicationOutput
from api.fields.shapes import Id, Input, Moment, NoInput, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.errors import NotFoundError
from shared.models import Organization

PROJECT, ENVIRONMENT = "default", "production"
"""The names that Dokploy gives by default."""


class Nothing(Output):
    """An item of a list that is always empty."""


Empty = list[Nothing]


def _none() -> Empty:
    return []


class EnvironmentOutput(Output):
    """The one environment, with all applications. Its other lists are empty."""

    environment_id: str
    project_id: str
    name: str = ENVIRONMENT
    description: str = ""
    env: str = ""
    is_default: bool = True
    created_at: Moment
    applications: list[ApplicationOutput]
    compose: Empty = Field(default_factory=_none)
    libsql: Empty = Field(default_factory=_none)
    mariadb: Empty = Field(default_factory=_none)
    mongo: Empty = Field(default_factory=_none)
    mysql: Empty = Field(default_factory=_none)
    postgres: Empty = Field(default_factory=_none)
    redis: Empty = Field(default_factory=_none)

    @classmethod
    def of(cls, organization: Organization, applications: list[ApplicationOutput]) -> Self:
        return cls.model_validate(
            {
                "environment_id": organization.organization_id,
                "project_id": organization.organization_id,
                "created_at": organization.created_at,
                "applications": applications,
            }
        )


class ProjectOutput(Output):
    """The one project of the organization, with its one environment."""

    project_id: str
    name: str = PROJECT
    description: str = ""
    env: str = ""
    organization_id: str
    created_at: Moment
    environments: list[EnvironmentOutput]

    @classmethod
    def of(cls, environment: EnvironmentOutput) -> Self:
        return cls.model_validate(
            {
                "project_id": environment.project_id,
                "organization_id": environment.project_id,
                "created_at": environment.created_at,
                "environments": [environment],
            }
        )


class ChosenProject(Input):
    project_id: Id


class ChosenEnvironment(Input):
    environment_id: Id


async def get_all(context: Context, _request: NoInput) -> list[ProjectOutput]:
    """List the one project, with its environment and all applications."""
    return [ProjectOutput.of(await _read(context))]


async def one(context: Context, request: ChosenProject) -> ProjectOutput:
    """Return the project, with its environment and all applications."""
    return ProjectOutput.of(await _find(context, request.project_id, "Project not found"))


async def one_environment(context: Context, request: ChosenEnvironment) -> EnvironmentOutput:
    """Return the environment, with all applications."""
    return await _find(context, request.environment_id, "Environment not found")


async def environments(context: Context, request: ChosenProject) -> list[EnvironmentOutput]:
    """List the project's one environment, with all applications."""
    return [await _find(context, request.project_id, "Project not found")]


async def _find(context: Context, chosen: str, message: str) -> EnvironmentOutput:
    if chosen != context.organization_id:
        raise NotFoundError(message)
    return await _read(context)


async def _read(context: Context) -> EnvironmentOutput:
    async with context.transaction() as session:
        organization = await session.get_one(Organization, context.organization_id)
    return EnvironmentOutput.of(organization, await get_applications(context, NoInput()))


PROCEDURES = (
    Procedure("project.all", "query", NoInput, list[ProjectOutput], get_all),
    Procedure("project.one", "query", ChosenProject, ProjectOutput, one),
    Procedure("environment.one", "query", ChosenEnvironment, EnvironmentOutput, one_environment),
    Procedure(
        "environment.byProjectId", "query", ChosenProject, list[EnvironmentOutput], environments
    ),
)
