"""Services of the Swarm that an Engine manages: make, change, roll back, look at, remove."""

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel, Field, JsonValue, RootModel

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import PublishedPort
from worker.engine.containers import APPLICATION, DEPLOYMENT, LAST_LINES
from worker.engine.credentials import registry_auth
from worker.engine.errors import Doing
from worker.engine.swarm.service_spec import ServiceSpec, as_it_was
from worker.engine.swarm.service_state import Service, ServiceAnswer, Task, TaskAnswer
from worker.engine.transport.connection import Engine
from worker.login import EngineLogin

CHANGES = 5
"""How often a change is tried that another one was faster than."""


async def find(engine: Engine, label: str, value: str) -> list[Service]:
    """All services with this label."""
    return await _list(engine, {"label": [f"{label}={value}"]})


async def named(engine: Engine, name: str) -> Service | None:
    """The service of just this name."""
    listed = await _list(engine, {"name": [name]})  # it may be the beginning of others, too
    return next((service for service in listed if service.name == name), None)


async def inspect(engine: Engine, service_id: str) -> Service:
    """Raises `EngineError` (``service_missing``)."""
    doing = Doing("inspect service")
    answer = await engine.request_as(ServiceAnswer, "GET", f"services/{service_id}", doing=doing)
    return answer.as_service()


async def create(engine: Engine, spec: ServiceSpec, login: EngineLogin | None) -> str:
    """Make a service, whose tasks then begin; gives its id.

    One of the same deployment is taken as it is: another manager of the Swarm was asked, too.

    Raises:
        EngineError: ``name_taken``, ``port_taken``, or what the Engine does not like about it.
    """
    return await _make(engine, spec, login, spec.name, spec.body())


async def create_trial(
    engine: Engine, spec: ServiceSpec, login: EngineLogin | None, before: Service
) -> str:
    """As `create`, but one task of it beside the service that it is to change, without ports."""
    return await _make(engine, spec, login, spec.trial_name, spec.trial(before.document))


async def update(
    engine: Engine, service_id: str, spec: ServiceSpec, login: EngineLogin | None
) -> None:
    """Give a service another spec, and its nodes this login from now on.

    Once for a deployment, whichever managers of the Swarm are asked: after a second time, what ran
    before it would not be the previous spec any more.

    Raises:
        EngineError: ``service_missing``, ``port_taken``, or what the Engine does not like about it.
    """
    doing = Doing("deploy", spec.reference, login)

    async def change(service: Service) -> None:
        if service.deployment != spec.labels[DEPLOYMENT]:
            body = spec.body(service.document, turn=service.version)
            await _change(engine, service, body, doing, headers=registry_auth(doing))

    await _newest(engine, service_id, change)


async def put_back(
    engine: Engine, service_id: str, deployment: str, before: Mapping[str, JsonValue] | None
) -> None:
    """Give it the spec and the login back that it had before; remove it where there was none.

    ``before`` is the spec that this deployment found: empty where it made the service, none where
    nobody knows; then it has to be the service's previous one.

    Left alone where its spec is not of this deployment: the Swarm may have done it by itself. Or
    be about to: it exchanges the spec for the previous one, and after ``rollback=previous``, which
    does so too, that would be the one that failed (10 of 30 times on 20.10). Of an update it knows.

    Raises:
        EngineError: ``not_put_back``, as somebody changed it since, and nobody knows it.
    """
    doing = Doing("put back service")

    async def change(service: Service) -> None:
        if service.deployment != deployment:
            return
        previous = service.previous
        if previous is not None and service.previous_deployment != deployment:
            params = {"registryAuthFrom": "previous-spec"}
            await _change(engine, service, as_it_was(previous), doing, params=params)
        elif before:
            await _change(engine, service, as_it_was(before), doing)
        elif before is not None or service.is_as_made:
            await remove(engine, service_id)
        else:
            raise EngineError(FaultCode.NOT_PUT_BACK, f"{doing}: what it was before is unknown")

    await _newest(engine, service_id, change)


async def remove(engine: Engine, service_id: str) -> None:
    """Remove it with its tasks, which the Swarm then ends; one that is gone is fine."""
    try:
        await engine.request("DELETE", f"services/{service_id}", doing=Doing("remove service"))
    except EngineError as error:
        if error.code != FaultCode.SERVICE_MISSING:
            raise


async def end(engine: Engine, service: Service) -> None:
    """Have its tasks end, without removing it."""
    mode: JsonValue = {"Replicated": {"Replicas": 0}}
    body: JsonValue = {**service.document, "Mode": mode}
    await _change(engine, service, body, Doing("end service"))


async def tasks(engine: Engine, service_id: str) -> list[Task]:
    """Its tasks from the oldest on, also those that are over as far as the Swarm keeps them."""
    found = await _tasks(engine, {"service": [service_id]})
    return [task.as_task() for task in sorted(found, key=lambda task: task.created_at)]


async def nodes_using(
    engine: Engine, ports: Sequence[PublishedPort], application_id: str
) -> set[str]:
    """The ids of nodes where tasks of anybody but this application have one of these ports."""
    wanted = {(port.published_port, port.protocol) for port in ports}
    return {
        task.node_id
        for task in await _tasks(engine, {"desired-state": ["running"]})
        if (task.spec.container.labels or {}).get(APPLICATION) != application_id
        and task.status.ports & wanted
    }


async def last_lines(engine: Engine, task_id: str) -> str:
    """What a task printed last, on whatever node it was."""
    params = {"stdout": "true", "stderr": "true", "tail": str(LAST_LINES)}
    return await engine.output(f"tasks/{task_id}/logs", params=params, doing=Doing("read its log"))


async def _make(
    engine: Engine, spec: ServiceSpec, login: EngineLogin | None, name: str, body: JsonValue
) -> str:
    doing = Doing("deploy", spec.reference, login)
    headers = registry_auth(doing)
    try:
        answer = await engine.request_as(
            _Created, "POST", "services/create", headers=headers, body=body, doing=doing
        )
    except EngineError as error:
        there = await named(engine, name) if error.code == FaultCode.NAME_TAKEN else None
        if there is None or there.deployment != spec.labels[DEPLOYMENT]:
            raise
        return there.service_id
    return answer.service_id


async def _newest(
    engine: Engine, service_id: str, change: Callable[[Service], Awaitable[None]]
) -> None:
    """Change a service as it is now: a change of the Swarm's own may always be faster."""
    tries = itertools.count(1)
    while True:
        try:
            await change(await inspect(engine, service_id))
        except EngineError as error:
            if error.code != FaultCode.SERVICE_CHANGED or next(tries) == CHANGES:
                raise
        else:
            return


async def _change(
    engine: Engine,
    service: Service,
    body: JsonValue,
    doing: Doing,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    path = f"services/{service.service_id}/update"
    version = {"version": str(service.version), **(params or {})}
    await engine.request("POST", path, params=version, headers=headers, body=body, doing=doing)


async def _tasks(engine: Engine, filters: dict[str, list[str]]) -> list[TaskAnswer]:
    params = {"filters": json.dumps(filters)}
    doing = Doing("list tasks")
    return (await engine.request_as(_Tasks, "GET", "tasks", params=params, doing=doing)).root


async def _list(engine: Engine, filters: dict[str, list[str]]) -> list[Service]:
    params = {"filters": json.dumps(filters)}
    doing = Doing("list services")
    answer = await engine.request_as(_Services, "GET", "services", params=params, doing=doing)
    return [service.as_service() for service in answer.root]


class _Tasks(RootModel[list[TaskAnswer]]):
    """What is answered to ``GET /tasks``."""


class _Services(RootModel[list[ServiceAnswer]]):
    """What is answered to ``GET /services``."""


class _Created(BaseModel):
    service_id: str = Field(alias="ID")
