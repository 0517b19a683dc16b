"""All procedures by name: an explicit list, in the order in which the documents show them."""

from typing import Any

from api.procedures import (
    api_key,
    diagnosis,
    enrolment,
    image,
    job,
    matrix,
    registry,
    server,
    server_check,
    user,
)
from api.procedures.procedure import Procedure

MODULES = (registry, diagnosis, matrix, server, server_check, enrolment, image, job, api_key, user)

PROCEDURES: dict[str, Procedure[Any, Any]] = {
    procedure.name: procedure for module in MODULES for procedure in module.PROCEDURES
}
