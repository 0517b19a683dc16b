"""Give the Swarm service of an application a registry's new login; its tasks go on running."""

from shared.jobs.commands import ServiceLogin
from shared.jobs.results import ServiceLoginResult
from worker.deployments.controlled_service import find_service
from worker.engine.swarm import services
from worker.jobs.second_opinion import Transfer, find_engine_login
from worker.jobs.tools import Tools
from worker.login import Grants


async def renew_login(command: ServiceLogin, grants: Grants, tools: Tools) -> ServiceLoginResult:
    """Give the service the login with which its nodes pull its image.

    The spec stays the same, so the Swarm starts no task anew. A service that runs another image
    now, or none, is left alone: it got its login with the deployment of that image.

    Raises:
        RefusedNetworkError, RegistryError, EngineError: the Engine may not be given the login, or
            refuses the change.
    """
    controlled = await find_service(tools.engine, command.application_id)
    if controlled is None or controlled.service.image != command.reference:
        return ServiceLoginResult(changed=False)
    login = grants.login_for(command.target, "pull")
    given = await find_engine_login(Transfer("pull", command.target, login), tools)
    changed = await services.renew_login(
        tools.engine, controlled.service.service_id, command.target, given
    )
    return ServiceLoginResult(changed=changed)
