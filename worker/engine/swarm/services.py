"""Services of the Swarm that an Engine manages: create, update, restore, inspect, remove."""

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel, Field, JsonValue, RootModel

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.containers import PublishedPort
from shared.reference import Reference
from worker.engine.containers import APPLICATION, DEPLOYMENT, LAST_LINES
from worker.engine.credentials import make_registry_auth_header
from worker.engine.errors import EngineOperation
from worker.engine.swarm.service_spec import ServiceSpec, make_restore_body
from worker.engine.swarm.service_state import Service, ServiceResponse, Task, TaskResponse
from worker.engine.transport.connection import Engine
from worker.login import EngineLogin

REPLICAS = "io.wharfinger.replicas"
"""The label of a stopped service: the number of its tasks before."""

MAX_UPDATE_ATTEMPTS = 5
"""How often a change is tried when it conflicts with another one."""


async def find(engine: Engine, label: str, value: str) -> list[Service]:
    """Return all services with this label."""
    return await _list(engine, {"label": [f"{label}={value}"]})


async def find_by_name(engine: Engine, name: str) -> Service | None:
    """Return the service with exactly this name."""
    listed = await _list(engine, {"name": [name]})  # Engines also list services that begin with it
    return next((service for service in listed if service.name == name), None)


async def inspect(engine: Engine, service_id: str) -> Service:
    """Return the service of this id; raises `EngineError` (``service_missing``)."""
    operation = EngineOperation("inspect service")
    response = await engine.request_as(
        ServiceResponse, "GET", f"services/{service_id}", operation=operation
    )
    return response.as_service()


async def create(engine: Engine, spec: ServiceSpec, login: EngineLogin | None) -> str:
    """Create a service and return its id.

    If another manager of the Swarm has already created it for the same deployment, return that one.

    Raises:
        EngineError: ``name_taken``, ``port_taken``, or another refusal of the Engine.
    """
    return await _make(engine, spec, login, spec.name, spec.body())


async def create_trial(
    engine: Engine, spec: ServiceSpec, login: EngineLogin | None, current: Service
) -> str:
    """Create a service of one trial task beside the ``current`` service, without ports."""
    return await _make(engine, spec, login, spec.trial_name, spec.trial(current.document))


async def update(
    engine: Engine, service_id: str, spec: ServiceSpec, login: EngineLogin | None
) -> None:
    """Update a service to a spec, and give its nodes this login.

    A deployment updates a service only once, even if several managers of the Swarm are asked: a
    second update would lose the previous spec.

    Raises:
        EngineError: ``service_missing``, ``port_taken``, or another refusal of the Engine.
    """
    operation = EngineOperation("deploy", spec.reference, login)

    async def change(service: Service) -> None:
        if service.deployment != spec.labels[DEPLOYMENT]:
            body = spec.body(service.document, force_update=service.version)
            await _change(
                engine, service, body, operation, headers=make_registry_auth_header(operation)
            )

    await _retry_on_conflict(engine, service_id, change)


async def renew_login(
    engine: Engine, service_id: str, reference: Reference, login: EngineLogin | None
) -> bool:
    """Give the nodes of a service that runs this image another login, and return whether it does.

    The spec stays as it is. A Swarm replaces no running task whose spec differs in its login only
    (``IsTaskDirty`` of swarmkit).

    Raises:
        EngineError: ``service_missing``, or another refusal of the Engine.
    """
    operation = EngineOperation("renew the login of the service for", reference, login)
    changed = False

    async def change(service: Service) -> None:
        nonlocal changed
        changed = service.image == str(reference)
        if changed:
            headers = make_registry_auth_header(operation)
            await _change(engine, service, dict(service.document), operation, headers=headers)

    await _retry_on_conflict(engine, service_id, change)
    return changed


async def restore(
    engine: Engine, service_id: str, deployment: str, previous_spec: Mapping[str, JsonValue] | None
) -> None:
    """Restore the spec and login of a service as they were; remove it if it did not exist.

    ``previous_spec`` is the spec that this deployment found: empty if it created the service,
    ``None`` if unknown; then the spec before the last update counts.

    Nothing happens if the current spec is not of this deployment: the Swarm may have rolled back by
    itself. It may also be about to do so: it swaps the spec with the previous one.
    ``rollback=previous`` does that too, and a second swap would bring the failed spec back (10 of
    30 times on 20.10). A Swarm notices a plain update instead.

    Raises:
        EngineError: ``restore_failed``, another change followed, and the spec is unknown.
    """
    operation = EngineOperation("restore service")

    async def change(service: Service) -> None:
        if service.deployment != deployment:
            return
        previous = service.previous
        if previous is not None and service.previous_deployment != deployment:
            params = {"registryAuthFrom": "previous-spec"}
            await _change(engine, service, make_restore_body(previous), operation, params=params)
        elif previous_spec:
            await _change(engine, service, make_restore_body(previous_spec), operation)
        elif previous_spec is not None or service.is_unmodified:
            await remove(engine, service_id)
        else:
            raise EngineError(
                FaultCode.RESTORE_FAILED,
                f"{operation}: the new version failed, and no previous version is known",
                remedy="See docker service ps, and deploy a version that works.",
            )

    await _retry_on_conflict(engine, service_id, change)


async def remove(engine: Engine, service_id: str) -> None:
    """Remove a service with its tasks; do nothing if it does not exist."""
    try:
        await engine.request(
            "DELETE", f"services/{service_id}", operation=EngineOperation("remove service")
        )
    except EngineError as error:
        if error.code != FaultCode.SERVICE_MISSING:
            raise


async def scale_to_zero(engine: Engine, service: Service) -> None:
    """Stop all tasks of a service without removing it."""
    body: JsonValue = {**service.document, "Mode": _replicated(0)}
    await _change(engine, service, body, EngineOperation("stop service"))


async def stop(engine: Engine, service_id: str) -> None:
    """Stop all tasks of a service, and keep their number on it."""

    async def change(service: Service) -> None:
        if service.replicas:
            labels: JsonValue = {**service.labels, REPLICAS: str(service.replicas)}
            body: JsonValue = {**service.document, "Labels": labels, "Mode": _replicated(0)}
            await _change(engine, service, body, EngineOperation("stop service"))

    await _retry_on_conflict(engine, service_id, change)


async def start(engine: Engine, service_id: str, replicas: int) -> None:
    """Start as many tasks as a service had when it was stopped, or ``replicas`` if it has none."""

    async def change(service: Service) -> None:
        if not service.replicas:
            kept = service.labels.get(REPLICAS, "")
            labels: JsonValue = dict(service.labels.items() - {(REPLICAS, kept)})
            number = int(kept) if kept.isdecimal() and int(kept) else replicas
            body: JsonValue = {**service.document, "Labels": labels, "Mode": _replicated(number)}
            await _change(engine, service, body, EngineOperation("start service"))

    await _retry_on_conflict(engine, service_id, change)


async def reload(engine: Engine, service_id: str) -> None:
    """Replace all tasks of a service by new ones of the same spec, as a rolling update does."""

    async def change(service: Service) -> None:
        template = service.document["TaskTemplate"]
        forced = {
            **(template if isinstance(template, dict) else {}),
            "ForceUpdate": service.version,
        }
        body: JsonValue = {**service.document, "TaskTemplate": forced}
        await _change(engine, service, body, EngineOperation("reload service"))

    await _retry_on_conflict(engine, service_id, change)


async def tasks(engine: Engine, service_id: str) -> list[Task]:
    """Return its tasks, the oldest first, with those ended ones that the Swarm still keeps."""
    found = await _tasks(engine, {"service": [service_id]})
    return [task.as_task() for task in sorted(found, key=lambda task: task.created_at)]


async def nodes_using(
    engine: Engine, ports: Sequence[PublishedPort], application_id: str
) -> set[str]:
    """Return the ids of nodes where tasks of other applications use one of these ports."""
    requested = {(port.published_port, port.protocol) for port in ports}
    return {
        task.node_id
        for task in await _tasks(engine, {"desired-state": ["running"]})
        if (task.spec.container.labels or {}).get(APPLICATION) != application_id
        and task.status.ports & requested
    }


async def last_lines(engine: Engine, task_id: str) -> str:
    """Return the last lines of a task's output, from any node."""
    params = {"stdout": "true", "stderr": "true", "tail": str(LAST_LINES)}
    return await engine.output(
        f"tasks/{task_id}/logs", params=params, operation=EngineOperation("read the log of a task")
    )


def _replicated(replicas: int) -> JsonValue:
    return {"Replicated": {"Replicas": replicas}}


async def _make(
    engine: Engine, spec: ServiceSpec, login: EngineLogin | None, name: str, body: JsonValue
) -> str:
    operation = EngineOperation("deploy", spec.reference, login)
    headers = make_registry_auth_header(operation)
    try:
        response = await engine.request_as(
            _Created, "POST", "services/create", headers=headers, body=body, operation=operation
        )
    except EngineError as error:
        there = await find_by_name(engine, name) if error.code == FaultCode.NAME_TAKEN else None
        if there is None or there.deployment != spec.labels[DEPLOYMENT]:
            raise
        return there.service_id
    return response.service_id


async def _retry_on_conflict(
    engine: Engine, service_id: str, change: Callable[[Service], Awaitable[None]]
) -> None:
    """Change the current version of a service; retry if the Swarm itself changed it meanwhile."""
    tries = itertools.count(1)
    while True:
        try:
            await change(await inspect(engine, service_id))
        except EngineError as error:
            if error.code != FaultCode.SERVICE_CHANGED or next(tries) == MAX_UPDATE_ATTEMPTS:
                raise
        else:
            return


async def _change(
    engine: Engine,
    service: Service,
    body: JsonValue,
    operation: EngineOperation,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    path = f"services/{service.service_id}/update"
    version = {"version": str(service.version), **(params or {})}
    await engine.request(
        "POST", path, params=version, headers=headers, body=body, operation=operation
    )


async def _tasks(engine: Engine, filters: dict[str, list[str]]) -> list[TaskResponse]:
    params = {"filters": json.dumps(filters)}
    operation = EngineOperation("list tasks")
    return (
        await engine.request_as(_Tasks, "GET", "tasks", params=params, operation=operation)
    ).root


async def _list(engine: Engine, filters: dict[str, list[str]]) -> list[Service]:
    params = {"filters": json.dumps(filters)}
    operation = EngineOperation("list services")
    response = await engine.request_as(
        _Services, "GET", "services", params=params, operation=operation
    )
    return [service.as_service() for service in response.root]


class _Tasks(RootModel[list[TaskResponse]]):
    """The response of ``GET /tasks``."""


class _Services(RootModel[list[ServiceResponse]]):
    """The response of ``GET /services``."""


class _Created(BaseModel):
    service_id: str = Field(alias="ID")
