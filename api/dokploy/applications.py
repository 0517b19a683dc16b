"""Applications under Dokploy's names: search, and names of what has another one here."""

from typing import Annotated

from pydantic import Field

from api.applications.procedures import ChosenApplication, remove
from api.applications.procedures import get_all as get_applications
from api.applications.schemas import ApplicationOutput
from api.deployments.procedures import DeploymentsOfApplication, cancel_all
from api.deployments.queries import DeploymentOutput
from api.fields.shapes import Id, Input, NoInput, Output
from api.procedure.context import Context
from api.procedure.procedure import Procedure

Word = Annotated[str, Field(max_length=200)]


class SearchApplications(Input):
    """Each text given is part of its field, in whatever case; ``q`` is part of any of them."""

    q: Word = ""
    name: Word = ""
    app_name: Word = ""
    description: Word = ""
    docker_image: Word = ""
    repository: Word = ""
    owner: Word = ""
    project_id: Id | None = None
    environment_id: Id | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Field(ge=0)] = 0


class FoundApplications(Output):
    """A page of the applications that were found; ``total`` counts all of them."""

    items: list[ApplicationOutput]
    total: int


async def search(context: Context, request: SearchApplications) -> FoundApplications:
    """Find applications by parts of their fields, the oldest first."""
    places = {request.project_id, request.environment_id} - {None}
    found = []
    if places <= {context.organization_id}:
        found = [
            each for each in await get_applications(context, NoInput()) if _matches(each, request)
        ]
    page = found[request.offset : request.offset + request.limit]
    return FoundApplications(items=page, total=len(found))


def _matches(application: ApplicationOutput, request: SearchApplications) -> bool:
    url = application.git_url or ""
    pairs = (
        (application.name, request.name),
        (application.app_name, request.app_name),
        (application.description, request.description),
        (application.docker_image or "", request.docker_image),
        (url, request.repository),
        (url, request.owner),
    )
    is_any = any(_holds(text, request.q) for text, _ in pairs)
    return is_any and all(_holds(text, part) for text, part in pairs)


def _holds(text: str, part: str) -> bool:
    return part.lower() in text.lower()


PROCEDURES = (
    Procedure("application.search", "query", SearchApplications, FoundApplications, search),
    Procedure(
        "application.delete", "mutation", ChosenApplication, ApplicationOutput, remove, "admin"
    ),
    Procedure(
        "application.killBuild",
        "mutation",
        DeploymentsOfApplication,
        list[DeploymentOutput],
        cancel_all,
    ),
)
