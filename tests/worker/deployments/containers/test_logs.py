"""The output of an application is read from a real Engine, without its secrets."""

import pytest

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.jobs.results import LogsResult
from tests.worker.deployments.containers.scenario import ContainerScenario

SPEAK = (
    "echo first; echo to the other stream >&2; echo my $PASSWORD; printf '\\033[31mred\\007\\n';"
)
SLEEP = " exec /bin/busybox sleep 1000"
NOISY = f"{SPEAK} /bin/busybox seq 1 30000; /bin/busybox printf '%020000d\\n' 7; echo last;{SLEEP}"


def texts(found: LogsResult) -> list[str]:
    return [line.partition(" ")[2] for line in found.lines]


async def test_the_newest_lines_are_read_with_their_time(scenario: ContainerScenario) -> None:
    await scenario.deploy(await scenario.image("1", NOISY))

    newest = await scenario.logs(tail=3)
    everything = await scenario.logs(tail=40_000)
    found = await scenario.logs(tail=40_000, search="LAST")
    none = await scenario.logs(search="nothing of this")
    await scenario.control("stop")
    of_a_stopped_one = await scenario.logs(tail=1, since_seconds=3600)

    assert texts(newest)[-1] == "last"
    assert texts(newest)[-2].endswith("characters left out]")
    assert newest.lines[-1].startswith("20")
    assert not newest.is_cut
    assert everything.is_cut
    assert texts(everything)[-1] == "last"
    assert 100_000 < sum(map(len, everything.lines)) < 128 * 1024
    assert texts(found) == ["last"]
    assert none.lines == ()
    assert texts(of_a_stopped_one) == ["last"]


async def test_neither_secrets_nor_control_characters_are_shown(
    scenario: ContainerScenario,
) -> None:
    await scenario.deploy(await scenario.image("1", f"{SPEAK}{SLEEP}"), {"PASSWORD": "staple"})

    found = await scenario.logs()

    assert sorted(texts(found)) == ["first", "my ***", "red", "to the other stream"]


async def test_an_application_without_output_here_is_named(scenario: ContainerScenario) -> None:
    with pytest.raises(EngineError) as caught:
        await scenario.logs()

    assert caught.value.code == FaultCode.CONTAINER_MISSING
    assert caught.value.message == (
        f"cannot read the logs of the application {scenario.name}: nothing of it is on this server"
    )
