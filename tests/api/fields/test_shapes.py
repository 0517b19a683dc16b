"""Every field of every input takes effect, is refused, or is named in the answer's warnings."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from api.builds.context_upload import UPLOAD
from api.fields.shapes import Input
from api.jobs.event_access import EVENTS
from api.routers import PROCEDURES
from tests.api.field_probes import PROBES, Change, example_of
from tests.api.fleet import TestServer
from tests.api.observing import CallEffects
from tests.api.scene import Scene, open_scene
from tests.databases import Database

ELSEWHERE = {
    EVENTS.name: {"jobId", "lastEventId"},
    UPLOAD.name: {"applicationId"},
}
"""Inputs with routes of their own: tests/api/events/test_stream.py, tests/api/uploads."""

NAMES = sorted(PROBES)
PARTS = 4
"""Scenes of their own, so that several processes can share the work."""


@pytest.fixture
async def scene(
    client: httpx2.AsyncClient, database: Database, server: TestServer
) -> AsyncIterator[Scene]:
    async with open_scene(client, database, server) as scene:
        yield scene


def test_every_procedure_and_every_field_of_it_has_a_probe() -> None:
    fields = {name: set(_fields(procedure.input)) for name, procedure in PROCEDURES.items()}
    by_themselves = {each.name: set(_fields(each.input)) for each in (EVENTS, UPLOAD)}

    assert {name: set(probe.changes) for name, probe in PROBES.items()} == fields
    assert by_themselves == ELSEWHERE


def _fields(model: type[Input]) -> list[str]:
    return [str(field.alias) for field in model.model_fields.values()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_field_takes_effect_or_is_refused_or_is_named(scene: Scene, part: int) -> None:
    wrong: list[str] = []
    for name in NAMES[part::PARTS]:
        wrong += [f"{name}: {message}" async for message in _try(scene, name)]

    assert not wrong, "\n".join(wrong)


async def _try(scene: Scene, name: str) -> AsyncIterator[str]:
    """A fault of a procedure's fields."""
    procedure, probe = PROCEDURES[name], PROBES[name]
    seen = await scene.ask(procedure, probe)
    if seen.status not in {200, 202} or seen.named:
        yield f"the good request is answered {seen.status} {seen.named} {seen.answer}"
    if probe.changes and (again := await scene.ask(procedure, probe)) != seen:
        yield f"the same request twice is not the same: {_difference(seen, again)}"
    for alias, change in probe.changes.items():
        tried = change if isinstance(change, Change) else Change(change)
        found = await scene.ask(procedure, probe, **{alias: tried.value})
        if message := _judge(alias, tried, seen, found):
            yield message
    if procedure.input.NOT_USED:
        unused = dict.fromkeys(procedure.input.NOT_USED, "x")
        found = await scene.ask(procedure, probe, **unused)
        if found.named != set(unused) or found.rows != seen.rows:
            yield f"not all is named: {set(unused) - found.named}"
    found = await scene.ask(procedure, example_of(name))
    if found.status not in {200, 202} or found.named:
        yield f"the documented example is answered {found.status} {found.named} {found.answer}"


def _judge(alias: str, change: Change, base: CallEffects, found: CallEffects) -> str | None:
    match change.expected:
        case _ if found.status >= 500:
            return f"{alias} is answered {found.status}"
        case "refused":
            return None if found.status == 400 else f"{alias} is not refused: {found}"
        case "named":
            return None if found.named == {alias} else f"{alias} is not named: {found}"
        case "effect":
            if found.named or found == base:
                return f"{alias} has no effect: {found}"
            return None


def _difference(one: CallEffects, other: CallEffects) -> str:
    rows = one.rows ^ other.rows
    return f"{one.answer} / {other.answer} / {rows}"
