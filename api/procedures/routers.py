"""All procedures by name: an explicit list, in the order in which the documents show them."""

from typing import Any

from api.procedures import (
    api_key,
    compose,
    diagnosis,
    enrolment,
    image,
    job,
    registry,
    server,
    user,
)
from api.procedures.procedure import Procedure

MODULES = (registry, diagnosis, server, enrolment, image, compose, job, api_key, user)

PROCEDURES: dict[str, Procedure[Any, Any]] = {
    procedure.name: procedure for module in MODULES for procedure in module.PROCEDURES
}
