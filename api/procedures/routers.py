"""All procedures by name: an explicit list, in the order in which the documents show them."""

from typing import Any

from api.procedures import (
    api_key,
    application,
    application_build,
    application_source,
    build,
    compose,
    deploy,
    deploy_hook,
    deployment,
    deployment_logs,
    diagnosis,
    enrolment,
    image,
    job,
    matrix,
    registry,
    restore,
    rollback,
    server,
    server_check,
    server_path,
    user,
    webhook,
    webhook_delivery,
)
from api.procedures.procedure import Procedure

MODULES = (
    *(registry, diagnosis, matrix, server, server_check, server_path, enrolment),
    *(application, application_source, application_build, build),
    *(deploy, deployment, deployment_logs, rollback, deploy_hook),
    *(image, compose, job, webhook, webhook_delivery, api_key, user, restore),
)

PROCEDURES: dict[str, Procedure[Any, Any]] = {
    procedure.name: procedure for module in MODULES for procedure in module.PROCEDURES
}
