import pytest

from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Outcome, ProbeReport, Stage, StageResult, make_probe_repository
from shared.reference import parse_registry


@pytest.mark.parametrize(
    ("url", "prefix", "username", "repository"),
    [
        ("ghcr.io", "ghcr.io/myorg/", "u", "myorg/connection-test"),
        ("docker.io", "mycompany/", "u", "mycompany/connection-test"),
        ("docker.io", None, "DockerHubUser", "dockerhubuser/connection-test"),
        ("docker.io", "", "", "library/connection-test"),
        ("registry.example.com:5000", None, "admin", "connection-test"),
    ],
)
def test_rights_are_tried_under_the_prefix(
    url: str, prefix: str | None, username: str, repository: str
) -> None:
    assert make_probe_repository(parse_registry(url), prefix, username) == repository


def test_the_first_failure_is_the_fault() -> None:
    report = ProbeReport(
        stages=(
            StageResult(stage=Stage.TLS, outcome=Outcome.WARNING, evidence="9 days left"),
            StageResult(
                stage=Stage.AUTH,
                outcome=Outcome.FAILED,
                code=FaultCode.RATE_LIMITED,
                evidence="too many",
                retry_after_seconds=7,
            ),
            StageResult(stage=Stage.PULL, outcome=Outcome.NOT_RUN),
        )
    )

    fault = report.fault()

    assert fault and (fault.code, fault.stage) == (FaultCode.RATE_LIMITED, Stage.AUTH)
    assert fault.message == "too many" and fault.retryable and fault.retry_after_seconds == 7
    assert fault.remedy == FAULTS[FaultCode.RATE_LIMITED].remedy


def test_another_stage_adds_to_what_is_proved() -> None:
    report = ProbeReport(stages=(), verified=("one",), not_verified=("two",))
    engine = StageResult(stage=Stage.ENGINE, outcome=Outcome.OK)

    good = report.with_stage(engine, verified="three")
    bad = report.with_stage(engine, not_verified="four")

    assert good.stages == (engine,) and good.verified == ("one", "three")
    assert bad.not_verified == ("two", "four") and report.fault() is None


def test_a_report_survives_its_own_json_and_what_a_newer_worker_adds() -> None:
    report = ProbeReport.model_validate(
        {"stages": [{"stage": "tcp", "outcome": "failed", "code": "conn_refused", "new": 1}]}
    )

    again = ProbeReport.model_validate_json(report.model_dump_json(by_alias=True))

    assert again == report
    assert "notVerified" in report.model_dump(by_alias=True)
