"""A test of Docker Hub from a server that reaches only a mirror of it."""

from dataclasses import replace

from shared.faults import FaultCode
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage
from shared.networks import parse_networks
from tests.fakes.scripted_registry import ScriptedRegistry
from tests.fakes.web import open_fake, says
from tests.worker.oci.parts import API, make_login, make_settings, outcomes, stage
from worker.oci.probe import ProbeRequest, probe
from worker.oci.transport.settings import ConnectionSettings

HUB = "docker.io"
LOGIN = make_login(HUB)
OPEN = says(200, text='{"tags": []}', kind="application/json", headers=API)
NOT_HERE = says(404)


def with_mirrors(*mirrors: str) -> ConnectionSettings:
    """Settings for which Docker Hub's name does not exist."""
    return replace(make_settings(), mirrors=mirrors)


async def run(settings: ConnectionSettings, **changes: object) -> ProbeReport:
    request = replace(ProbeRequest(HUB, LOGIN, image_prefix="team"), **changes)  # type: ignore[arg-type]
    return await probe(request, settings)


async def test_a_hub_out_of_reach_is_tested_by_the_mirror_and_the_report_says_so() -> None:
    async with open_fake(OPEN) as mirror:
        report = await run(with_mirrors(f"http://{mirror.host}/"))

    found = outcomes(report)
    assert report.fault() is None
    assert (found[Stage.DNS], found[Stage.AUTH]) == (Outcome.WARNING, Outcome.SKIPPED)
    assert "registry mirror" in stage(report, Stage.DNS).evidence
    assert found[Stage.PULL] is Outcome.OK
    assert f"mirror {mirror.host} was asked" in stage(report, Stage.PULL).evidence
    assert mirror.lines == ["GET /v2/", "GET /v2/team/connection-test/tags/list"]


async def test_neither_the_login_nor_the_right_to_push_is_verified_by_a_mirror() -> None:
    async with open_fake(OPEN) as mirror:
        report = await run(with_mirrors(f"http://{mirror.host}"))

    push = stage(report, Stage.PUSH)
    assert push.outcome is Outcome.WARNING and "not proved" in push.evidence
    assert "that username and password are right" in report.not_verified
    assert "that this login may push to team/connection-test" in report.not_verified
    assert mirror.authorizations == []


async def test_a_mirror_with_a_login_gets_none_and_verifies_no_pull() -> None:
    registry = ScriptedRegistry()
    async with open_fake(registry.answer) as mirror:
        report = await run(with_mirrors(f"http://{mirror.host}"))

    pull = stage(report, Stage.PULL)
    assert pull.outcome is Outcome.WARNING and "requires a login" in pull.evidence
    assert "that this login may pull from team/connection-test" in report.not_verified
    assert mirror.authorizations == []


async def test_the_next_mirror_is_asked_where_the_first_does_not_work() -> None:
    async with open_fake(NOT_HERE) as broken, open_fake(OPEN) as mirror:
        report = await run(
            with_mirrors("http://no.such.mirror", f"http://{broken.host}", f"http://{mirror.host}")
        )

    assert report.fault() is None
    assert mirror.host in stage(report, Stage.PULL).evidence


async def test_without_a_mirror_that_works_the_test_fails_and_names_both() -> None:
    async with open_fake(NOT_HERE) as broken:
        report = await run(with_mirrors(f"http://{broken.host}", "http://[fe80::1]", "http://a b"))

    fault = report.fault()
    assert fault is not None and fault.stage == Stage.PULL
    assert broken.host in fault.message and "no registry mirror" in fault.message
    assert "registry-1.docker.io" in stage(report, Stage.DNS).evidence


async def test_a_right_to_push_alone_needs_docker_hub_itself() -> None:
    async with open_fake(OPEN) as mirror:
        report = await run(with_mirrors(f"http://{mirror.host}"), rights=frozenset({"push"}))

    fault = report.fault()
    assert fault is not None and (fault.code, fault.stage) == (
        FaultCode.DNS_NOT_FOUND,
        Stage.DNS,
    )
    assert mirror.lines == []


async def test_a_mirror_stands_for_no_other_registry() -> None:
    async with open_fake(OPEN) as mirror:
        report = await run(
            with_mirrors(f"http://{mirror.host}"), url="ghcr.io", login=make_login("ghcr.io")
        )

    fault = report.fault()
    assert fault is not None and fault.code == FaultCode.DNS_NOT_FOUND
    assert mirror.lines == []


async def test_a_mirror_in_a_network_that_is_not_allowed_is_not_asked() -> None:
    async with open_fake(OPEN) as mirror:
        settings = replace(with_mirrors(f"http://{mirror.host}"), networks=parse_networks("public"))
        report = await run(settings)

    assert report.fault() is not None
    assert mirror.lines == []
