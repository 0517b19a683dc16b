"""Containers replaced on a real Engine: the healthy run, the others leave what ran before."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.commands import ContainerReplace, HealthProbe, PublishedPort
from shared.jobs.results import ContainerResult
from shared.reference import Reference
from tests.engine.contexts import BUSYBOX
from tests.engine.parts import IDLE, Registry
from tests.engine.test_images import ignore
from tests.server.parts import make_tools
from tests.waiting import wait_until
from worker.engine import containers, images
from worker.engine.connection import Engine
from worker.engine.containers import APPLICATION, DEPLOYMENT, Container
from worker.local.engines import LocalEngine
from worker.local.images import make_image
from worker.login import Grants
from worker.server.attempt import Attempt, Why
from worker.server.handlers.containers import replace_container
from worker.server.handlers.sites import Gate
from worker.server.handlers.tools import Tools

SOON = Gate(every=timedelta(milliseconds=50), steady=timedelta(milliseconds=400))
WELL = HealthProbe(command=("/bin/busybox", "true"), interval_seconds=1, retries=1)
ILL = HealthProbe(command=("/bin/sh", "-c", "echo not well; exit 1"), interval_seconds=1, retries=1)
SERVE = (
    "trap 'exit 0' TERM; mkdir -p /www; echo $0 > /www/index.html;"
    " /bin/busybox httpd -p 8080 -h /www; /bin/busybox sleep 1000 & wait"
)


@dataclass
class Yard:
    """One Engine, an application on it, and what its deployments log."""

    engine: Engine
    local: LocalEngine
    registry: Registry
    tools: Tools
    name: str
    pieces: list[str] = field(default_factory=list)

    async def image(self, version: str, script: str) -> str:
        """An image that runs this; by its digest, as a pull leaves it."""
        target = self.registry.reference(f"team/{self.name}", version)
        make_image(
            self.local.docker_host,
            str(target),
            files={"bin/sh": BUSYBOX, "bin/busybox": BUSYBOX, "bin/mkdir": BUSYBOX},
            command=["/bin/sh", "-c", script, version],
        )
        pushed = await images.push(self.engine, target, None, ignore, IDLE)
        return str(Reference(target.registry, target.repository, digest=pushed.digest))

    async def serving(self, version: str) -> str:
        return await self.image(version, SERVE)

    def command(self, reference: str, **changes: Any) -> ContainerReplace:
        number = str(time.monotonic_ns())
        asked = ContainerReplace(
            application_id=f"id-of-{self.name}",
            deployment_id=number,
            name=self.name,
            reference=reference,
        )
        return asked.model_copy(update=changes)

    async def deploy(
        self,
        reference: str | ContainerReplace,
        environment: Mapping[str, str] | None = None,
        *,
        attempt: Attempt | None = None,
        **changes: Any,
    ) -> ContainerResult:
        command = reference if isinstance(reference, ContainerReplace) else None
        secrets = {name: SecretStr(value) for name, value in (environment or {}).items()}
        running = attempt or Attempt("job", 1)
        running.say = self._say
        return await replace_container(
            command or self.command(str(reference), **changes),
            Grants(environment=secrets),
            running,
            self.tools,
            SOON,
        )

    async def fail(
        self, reference: str, *environment: Mapping[str, str], **changes: Any
    ) -> EngineError:
        with pytest.raises(EngineError) as caught:
            await self.deploy(reference, *environment, **changes)
        return caught.value

    async def found(self) -> list[Container]:
        return await containers.find(self.engine, APPLICATION, f"id-of-{self.name}")

    async def only(self) -> Container:
        """The application's one container: nothing else is left behind."""
        [container] = await self.found()
        assert (container.name, container.is_running) == (self.name, True)
        return container

    async def document(self) -> Any:
        """Since when what has run: a restart would change it."""
        document: Any = await self.engine.request("GET", f"containers/{self.name}/json")
        return document["Id"], document["State"]["StartedAt"], document["State"]["Running"]

    async def leave(self, reference: str, name: str) -> None:
        """A container of the application as an attempt that died leaves it."""
        image = await images.inspect(self.engine, reference)
        labels = {APPLICATION: f"id-of-{self.name}", DEPLOYMENT: "died"}
        spec = containers.ContainerSpec(image.image_id, labels)
        await containers.start(self.engine, await containers.create(self.engine, name, spec))

    async def clear(self) -> None:
        for container in await self.found():
            await containers.remove(self.engine, container.container_id)

    async def _say(self, _: int, __: str, data: Mapping[str, Any]) -> None:
        self.pieces.append(data["text"])


@pytest.fixture
async def yard(
    engine: Engine,
    local_engine: LocalEngine,
    registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Any:
    tools = make_tools(engine, "private", tmp_path)
    name = f"app-{abs(hash(request.node.name)) % 10**8}"
    yard = Yard(engine, local_engine, registry, tools, name)
    yield yard
    await yard.clear()


async def test_an_image_runs_with_its_environment_under_its_name(yard: Yard) -> None:
    reference = await yard.image("1", "echo $COLOUR; exec /bin/busybox sleep 1000")

    result = await yard.deploy(reference, {"COLOUR": "bluebottle"})

    container = await yard.only()
    assert result.container_id == container.container_id
    assert (result.reference, result.image_id) == (reference, container.image_id)
    assert reference.endswith(f"@{result.digest}")
    assert result.gap_seconds == 0
    assert await containers.last_lines(yard.engine, yard.name) == "bluebottle\n"


async def test_a_good_version_takes_the_place_of_the_one_before(yard: Yard) -> None:
    first, second = await yard.serving("1"), await yard.serving("2")
    await yard.deploy(first)
    before = await yard.only()

    result = await yard.deploy(second, health_check=WELL)

    after = await yard.only()
    assert after.container_id == result.container_id != before.container_id
    assert after.health is not None
    assert after.health.status == "healthy"


@pytest.mark.parametrize(
    ("version", "code", "words"),
    [
        ((SERVE, ILL), FaultCode.CONTAINER_UNHEALTHY, "not well"),
        (("echo cannot go on; exit 7", None), FaultCode.CONTAINER_EXITED, "code 7: cannot go on"),
        (("echo cannot go on; exit 0", WELL), FaultCode.CONTAINER_EXITED, "cannot go on"),
    ],
)
@pytest.mark.parametrize("ports", [(), (PublishedPort(published_port=8301, target_port=8080),)])
async def test_what_is_not_healthy_is_removed_and_the_one_before_goes_on(
    yard: Yard,
    version: tuple[str, HealthProbe | None],
    code: FaultCode,
    words: str,
    ports: tuple[PublishedPort, ...],
) -> None:
    script, check = version
    await yard.deploy(await yard.serving("1"), ports=ports)
    before = await yard.document()

    error = await yard.fail(await yard.image("2", script), health_check=check, ports=ports)

    assert error.code == code
    assert words in error.message
    assert await yard.document() == before


async def test_the_environment_is_in_no_message_and_no_log(yard: Yard) -> None:
    reference = await yard.image("1", "echo my password is $PASSWORD; exit 3")

    error = await yard.fail(reference, {"PASSWORD": "correct-horse"})

    said = f"{error!r} {error.fault()!r} {yard.pieces}"
    assert "my password is ***" in error.message
    assert "correct-horse" not in said


async def test_published_ports_answer_through_a_refused_version_and_soon_after_a_good_one(
    yard: Yard,
) -> None:
    ports = (PublishedPort(published_port=8302, target_port=8080),)
    first, second = await yard.serving("1"), await yard.serving("2")
    await yard.deploy(first, ports=ports)
    place = (yard.local.address, 8302)
    await wait_until(lambda: answer(place) == "1")

    async with polling(place) as refused:
        await yard.fail(await yard.image("3", "exit 1"), ports=ports)
    result = await yard.deploy(second, ports=ports)

    assert set(refused) == {"1"}
    await wait_until(lambda: answer(place) == "2")
    assert 0 < result.gap_seconds < 15


async def test_a_port_of_somebody_else_s_is_named_and_the_one_before_runs_again(
    yard: Yard,
) -> None:
    theirs, ours = (PublishedPort(published_port=port, target_port=8080) for port in (8303, 8304))
    other = replace(yard, name=f"{yard.name}-other")
    await other.deploy(await other.serving("1"), ports=(theirs,))
    await yard.deploy(await yard.serving("1"), ports=(ours,))
    before = await yard.document()
    second = await yard.serving("2")

    alone = await yard.fail(second, ports=(theirs,))
    untouched = await yard.document()
    both = await yard.fail(second, ports=(ours, theirs))

    assert (alone.code, both.code) == (FaultCode.PORT_TAKEN, FaultCode.PORT_TAKEN)
    assert untouched == before
    assert (await yard.only()).container_id == before[0]
    await wait_until(lambda: answer((yard.local.address, 8304)) == "1")
    await other.clear()


async def test_a_container_of_somebody_else_s_is_left_alone(yard: Yard) -> None:
    reference = await yard.serving("1")
    stranger = replace(yard, name=yard.name)
    await stranger.deploy(reference, application_id="another")

    error = await yard.fail(reference)

    assert error.code == FaultCode.NAME_TAKEN
    [theirs] = await containers.find(yard.engine, APPLICATION, "another")
    assert theirs.is_running
    await containers.remove(yard.engine, theirs.container_id)


async def test_an_image_that_is_not_there_is_not_run(yard: Yard) -> None:
    absent = yard.registry.reference("team/absent").with_digest("sha256:" + "0" * 64)

    error = await yard.fail(str(replace(absent, tag=None)))

    assert error.code == FaultCode.LOCAL_IMAGE_MISSING
    assert await yard.found() == []


async def test_a_cancel_before_the_switch_leaves_what_ran_before(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    before = await yard.document()
    second = await yard.serving("2")
    attempt = Attempt("job", 1)
    slow = WELL.model_copy(update={"interval_seconds": 3600})
    attempt.task = asyncio.create_task(yard.deploy(second, attempt=attempt, health_check=slow))
    await wait_until(partial(is_starting, yard))

    begun = time.monotonic()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - begun < 5
    assert await yard.document() == before
    await yard.only()


async def test_a_cancel_while_the_one_before_ends_has_it_run_again(yard: Yard) -> None:
    ports = (PublishedPort(published_port=8305, target_port=8080),)
    slow = SERVE.replace("'exit 0'", "'/bin/busybox sleep 2; exit 0'")
    await yard.deploy(await yard.image("1", slow), ports=ports)
    before = await yard.only()
    second = await yard.serving("2")
    attempt = Attempt("job", 1)
    attempt.task = asyncio.create_task(yard.deploy(second, attempt=attempt, ports=ports))
    place = (yard.local.address, 8305)
    await wait_until(partial(is_created, yard, ports), seconds=20)

    begun = time.monotonic()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(asyncio.CancelledError):
        await attempt.task

    assert time.monotonic() - begun < 5
    assert (await yard.only()).container_id == before.container_id
    await wait_until(lambda: answer(place) == "1")


async def test_what_a_dead_worker_left_is_put_right_at_the_next_start(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.stop(yard.engine, kept.container_id)
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await yard.leave(await yard.serving("2"), f"{yard.name}.new")

    await yard.tools.unfinished.put_right()

    assert (await yard.only()).container_id == kept.container_id


async def switch_and_die(yard: Yard) -> Container:
    """What ran before, by the way from the switch to its end; its deployment is noted."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    await containers.stop(yard.engine, kept.container_id)
    await yard.leave(await yard.serving("2"), yard.name)
    yard.tools.unfinished.note(f"id-of-{yard.name}", "died")
    return kept


async def test_a_switch_that_nobody_finished_is_undone(yard: Yard) -> None:
    kept = await switch_and_die(yard)
    unfinished = replace(yard.tools.unfinished, grace=timedelta())

    await unfinished.put_right()

    assert (await yard.only()).container_id == kept.container_id
    assert not unfinished.begun


async def test_a_switch_is_left_to_another_attempt_for_a_while(yard: Yard) -> None:
    await switch_and_die(yard)
    before = sorted(found.name for found in await yard.found())

    await replace(yard.tools.unfinished, grace=timedelta(minutes=1)).put_right()

    assert sorted(found.name for found in await yard.found()) == before


async def test_another_attempt_finishes_the_switch(yard: Yard) -> None:
    await switch_and_die(yard)

    result = await yard.deploy(await yard.serving("2"), deployment_id="died")

    assert (await yard.only()).container_id == result.container_id
    assert not yard.tools.unfinished.begun


async def test_a_switch_that_nobody_finished_is_undone_before_the_next_deployment(
    yard: Yard,
) -> None:
    kept = await switch_and_die(yard)

    await yard.fail(await yard.image("3", "exit 7"))

    assert (await yard.only()).container_id == kept.container_id


async def test_a_deployment_leaves_no_note(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))

    await yard.deploy(await yard.serving("2"))

    assert not yard.tools.unfinished.begun


async def test_what_is_left_behind_is_put_right_while_the_worker_runs(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    await containers.rename(yard.engine, kept.container_id, f"{yard.name}.old")
    unfinished = replace(yard.tools.unfinished, every=timedelta(milliseconds=50))

    async with unfinished.watching():
        await wait_until(partial(is_called, yard, yard.name))

    assert (await yard.only()).container_id == kept.container_id


async def test_what_an_attempt_works_at_is_not_put_right(yard: Yard) -> None:
    await yard.deploy(await yard.serving("1"))
    slow = WELL.model_copy(update={"interval_seconds": 2})
    second = yard.deploy(await yard.serving("2"), health_check=slow)
    deploying = asyncio.create_task(second)
    await wait_until(partial(is_starting, yard))

    await yard.tools.unfinished.put_right()

    result = await deploying
    assert (await yard.only()).container_id == result.container_id


async def test_a_cancel_while_the_engine_is_frozen_is_put_right_when_it_answers(yard: Yard) -> None:
    ports = (PublishedPort(published_port=8309, target_port=8080),)
    slow = SERVE.replace("'exit 0'", "'/bin/busybox sleep 2; exit 0'")
    await yard.deploy(await yard.image("1", slow), ports=ports)
    before = await yard.only()
    second = await yard.serving("2")
    attempt = Attempt("job", 1)
    attempt.task = asyncio.create_task(yard.deploy(second, attempt=attempt, ports=ports))
    place = (yard.local.address, 8309)
    await wait_until(partial(is_created, yard, ports), seconds=20)

    yard.local.freeze()
    attempt.stop(Why.CANCELLED)
    with pytest.raises(EngineError) as caught:
        await attempt.task
    yard.local.thaw()
    await yard.tools.unfinished.put_right()

    assert caught.value.code == FaultCode.NOT_PUT_BACK
    assert attempt.is_too_late
    assert (await yard.only()).container_id == before.container_id
    await wait_until(lambda: answer(place) == "1")


async def test_a_note_of_a_service_is_forgotten_where_there_is_no_swarm(yard: Yard) -> None:
    unfinished = replace(yard.tools.unfinished, grace=timedelta())
    unfinished.note("app", "deployment")

    await unfinished.put_right()

    assert not unfinished.begun


async def test_after_a_change_of_name_the_one_before_is_replaced_all_the_same(yard: Yard) -> None:
    ports = (PublishedPort(published_port=8306, target_port=8080),)
    await yard.deploy(await yard.serving("1"), ports=ports)

    result = await yard.deploy(await yard.serving("2"), ports=ports, name=f"{yard.name}-renamed")

    [container] = await yard.found()
    assert (container.name, container.container_id) == (
        f"{yard.name}-renamed",
        result.container_id,
    )


async def test_two_published_ports_may_lead_to_the_same_one(yard: Yard) -> None:
    ports = tuple(PublishedPort(published_port=port, target_port=8080) for port in (8307, 8308))

    await yard.deploy(await yard.serving("1"), ports=ports)

    for port in ports:
        place = (yard.local.address, port.published_port)
        await wait_until(partial(is_answering, place, "1"))


async def test_a_secret_is_hidden_before_a_message_is_cut(yard: Yard) -> None:
    secret = "correct-horse  battery-staple"
    filler = "/bin/busybox printf %485s x | /bin/busybox tr ' ' x"
    script = f'echo "$PASSWORD $({filler})"; exit 3'

    error = await yard.fail(await yard.image("1", script), {"PASSWORD": secret})

    assert "staple" not in f"{error!r} {yard.pieces}"


@pytest.mark.parametrize("names", [("", ".new"), (".old", ".new"), ("", ".old")])
@pytest.mark.parametrize("is_running", [True, False])
async def test_what_an_attempt_left_behind_is_put_right_by_the_next_one(
    yard: Yard, names: tuple[str, str], *, is_running: bool
) -> None:
    """The first of the names is what has to survive where the next version is refused."""
    await yard.deploy(await yard.serving("1"))
    kept = await yard.only()
    if not is_running:
        await containers.stop(yard.engine, kept.container_id)
    if names[0]:
        await containers.rename(yard.engine, kept.container_id, f"{yard.name}{names[0]}")
    await yard.leave(await yard.serving("2"), f"{yard.name}{names[1]}")

    error = await yard.fail(await yard.image("3", "exit 1"))

    assert error.code == FaultCode.CONTAINER_EXITED
    assert (await yard.only()).container_id == kept.container_id


async def test_the_same_deployment_again_changes_nothing(yard: Yard) -> None:
    command = yard.command(await yard.serving("1"))
    first = await yard.deploy(command)
    before = await yard.document()

    again = await yard.deploy(command)

    assert again == first
    assert await yard.document() == before


async def is_created(yard: Yard, ports: tuple[PublishedPort, ...]) -> bool:
    """The new one with its ports: right after that the one before is asked to end."""
    wanted = {f"{port.published_port}/tcp" for port in ports}
    return any(
        found.name == f"{yard.name}.new" and found.published == wanted
        for found in await yard.found()
    )


def is_answering(place: tuple[str, int], said: str) -> bool:
    return answer(place) == said


async def is_called(yard: Yard, name: str) -> bool:
    return [found.name for found in await yard.found()] == [name]


async def is_starting(yard: Yard) -> bool:
    return any(
        found.name == f"{yard.name}.new" and found.is_running for found in await yard.found()
    )


def answer(place: tuple[str, int]) -> str:
    """What a web server says there; nothing where none listens."""
    with contextlib.suppress(OSError), socket.create_connection(place, 1) as connection:
        connection.settimeout(1)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        content = b""
        while part := connection.recv(4096):
            content += part
        return content.partition(b"\r\n\r\n")[2].decode().strip()
    return ""


@contextlib.asynccontextmanager
async def polling(place: tuple[str, int]) -> Any:
    """All that is answered there while the block runs."""
    answers: list[str] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            answers.append(await asyncio.to_thread(answer, place))

    asking = asyncio.create_task(ask())
    yield answers
    done.set()
    await asking
