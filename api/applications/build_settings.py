"""Build settings of an application, and the variables that it is built and run with."""

import json
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import SecretStr

from api.applications.fields import BuildType, Stage
from api.applications.queries import application_event, assign, find_application, seal_for
from api.applications.variables import SecretVariables, Variables, parse_variables
from api.fields import dokploy
from api.fields.effects import AppliesTo
from api.fields.shapes import Change, Id
from api.fields.sources import ContextPath, DockerfilePath
from api.procedure.context import Context
from api.procedure.procedure import Procedure
from shared.models import Application

BUILT = AppliesTo("source_type", ("git", "drop"))
RUN = AppliesTo("runtime", ("container", "service"))
WAY = {"build_type", "dockerfile", "docker_context_path", "docker_build_stage"}
VARIABLES = {"env", "build_args", "build_secrets"}


class BuildFields(Change):
    """``dockerfile`` and ``dockerContextPath`` start where the build does: at the build path."""

    build_type: BuildType = "dockerfile"
    dockerfile: Annotated[DockerfilePath, BUILT] = "Dockerfile"
    docker_context_path: Annotated[ContextPath, BUILT] = "."
    docker_build_stage: Annotated[Stage, BUILT] = None


class VariableFields(Change):
    """Lines of ``NAME=VALUE``, as in a dotenv file; what is given replaces what was there.

    ``env`` and ``buildSecrets`` are shown by no procedure but for their names. The steps of a build
    can read its secrets, so whoever may build can; ``buildArgs`` can be read in the image besides.
    """

    env: Annotated[SecretVariables | None, RUN] = None
    build_args: Annotated[Variables | None, BUILT] = None
    build_secrets: Annotated[SecretVariables | None, BUILT] = None


class SaveBuildType(BuildFields):
    """Only what is given changes; ``null`` is the default of a path, and no stage."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.BUILD_TYPE

    application_id: Id
    build_type: BuildType


class SaveEnvironment(VariableFields):
    """Only what is given changes; ``null`` or nothing takes the variables away."""

    NOT_USED: ClassVar[Mapping[str, str]] = dokploy.ENVIRONMENT

    application_id: Id


async def save_build_type(context: Context, request: SaveBuildType) -> bool:
    """Choose the Dockerfile that builds an application, its context and its stage."""
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id, lock=True)
        changed = assign(application, request, request.model_fields_set & WAY)
        context.check_effects(request, application)
        session.add(application_event(context, "application.saveBuildType", application, changed))
    return True


async def save_environment(context: Context, request: SaveEnvironment) -> bool:
    """Store the variables of an application's containers and of its builds."""
    async with context.transaction() as session:
        application, _ = await find_application(session, context, request.application_id, lock=True)
        changed = set_variables(context, application, request)
        context.check_effects(request, application)
        session.add(application_event(context, "application.saveEnvironment", application, changed))
    return True


def set_variables(context: Context, application: Application, request: VariableFields) -> list[str]:
    """Set what is given of the variables; gives the names of the fields, sorted."""
    changed = sorted(request.model_fields_set & VARIABLES)
    if "env" in changed:
        variables = _parse(request.env)
        application.env = _seal(context, application, "environment", variables)
        application.env_names = sorted(variables)
    if "build_secrets" in changed:
        variables = _parse(request.build_secrets)
        application.build_secrets = _seal(context, application, "build_secrets", variables)
        application.build_secret_names = sorted(variables)
    if "build_args" in changed:
        application.build_args = parse_variables(request.build_args or "")
    return changed


def _parse(text: SecretStr | None) -> dict[str, str]:
    return parse_variables(text.get_secret_value()) if text else {}


def _seal(
    context: Context, application: Application, purpose: str, variables: Mapping[str, str]
) -> str | None:
    if not variables:
        return None
    return seal_for(context, application, purpose, json.dumps(variables, ensure_ascii=False))


PROCEDURES = (
    Procedure(
        "application.saveBuildType", "mutation", SaveBuildType, bool, save_build_type, "admin"
    ),
    Procedure(
        "application.saveEnvironment", "mutation", SaveEnvironment, bool, save_environment, "admin"
    ),
)
