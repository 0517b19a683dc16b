"""The verdict on a failed transfer, of an Engine's words and of a registry's answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import FAULTS, FaultCode
from shared.jobs.diagnosis import Stage
from worker.jobs.verdicts import EngineReport, RegistryReport, name_subject, weigh

SUBJECT = "cannot pull r.example/team/app:1"
WORDS = f"{SUBJECT}: something"


def engine(code: str, *, certain: bool | None = None, waited_for: int = 0) -> EngineReport:
    found = FaultCode(code)
    is_certain = FAULTS[found].certain if certain is None else certain
    return EngineReport(found, WORDS, is_certain, waited_for=waited_for)


def registry(stage: Stage, code: str = "", retry_after: float | None = None) -> RegistryReport:
    return RegistryReport(
        stage,
        FaultCode(code) if code else None,
        message="the worker was refused" if code else "",
        retry_after_seconds=retry_after,
        is_complete=not code,
        has_logged_in=not code,
        has_image=not code,
    )


@pytest.mark.parametrize(
    ("said", "stage", "found", "verdict"),
    [
        ("engine_refused", Stage.AUTH, "auth_bad_credentials", "auth_bad_credentials"),
        ("engine_refused", Stage.TCP, "conn_timeout", "conn_timeout"),
        ("engine_refused", Stage.PULL, "", "engine_refused"),
        ("engine_stalled", Stage.PING, "conn_timeout", "conn_timeout"),
        ("engine_stalled", Stage.PUSH, "quota_exceeded", "quota_exceeded"),
        ("conn_reset", Stage.TLS, "tls_client_cert", "tls_client_cert"),
        ("conn_reset", Stage.TLS, "conn_timeout", "conn_timeout"),
        ("conn_refused", Stage.TCP, "no_route", "no_route"),
        ("conn_refused", Stage.AUTH, "auth_server_unreachable", "auth_server_unreachable"),
        ("dns_not_found", Stage.AUTH, "auth_server_unreachable", "auth_server_unreachable"),
        ("tls_unknown_ca", Stage.AUTH, "auth_server_unreachable", "auth_server_unreachable"),
        ("image_not_found", Stage.PING, "not_a_registry", "not_a_registry"),
        ("image_not_found", Stage.PULL, "image_incomplete", "image_incomplete"),
        ("image_not_found", Stage.TCP, "conn_timeout", "image_not_found"),
        ("image_not_found", Stage.PULL, "registry_error", "image_not_found"),
        ("auth_bad_credentials", Stage.PUSH, "push_denied", "push_denied"),
        ("auth_bad_credentials", Stage.TCP, "conn_refused", "auth_bad_credentials"),
        ("auth_bad_credentials", Stage.PULL, "", "registry_error"),
        ("push_denied", Stage.PUSH, "registry_read_only", "registry_read_only"),
        ("push_denied", Stage.PUSH, "", "push_denied"),
        ("pull_denied", Stage.PING, "blocked_by_proxy", "blocked_by_proxy"),
        ("platform_missing", Stage.PULL, "not_an_image", "not_an_image"),
        ("platform_missing", Stage.PULL, "", "engine_refused"),
        ("disk_full", Stage.PUSH, "quota_exceeded", "quota_exceeded"),
        ("auth_expired", Stage.AUTH, "auth_bad_credentials", "auth_expired"),
        ("tag_immutable", Stage.PUSH, "push_denied", "tag_immutable"),
        ("tls_unknown_ca", Stage.PULL, "", "tls_unknown_ca"),
    ],
)
def test_the_verdict_is_the_better_founded_one(
    said: str, stage: Stage, found: str, verdict: str
) -> None:
    opinion = weigh(SUBJECT, engine(said), registry(stage, found))

    assert opinion.code == FaultCode(verdict)
    assert opinion.retryable == FAULTS[FaultCode(verdict)].retryable


def test_both_sides_are_shown() -> None:
    opinion = weigh(SUBJECT, engine("engine_refused"), registry(Stage.AUTH, "pull_denied"))
    unknown = weigh(SUBJECT, engine("engine_refused"), registry(Stage.PULL))

    assert opinion.message == f"{SUBJECT}: the worker was refused"
    assert WORDS in opinion.evidence
    assert unknown.message == WORDS
    assert "found nothing wrong" in unknown.evidence


def test_a_transfer_that_only_waited_for_others_finds_the_engine_busy() -> None:
    waiting = engine("engine_stalled", waited_for=3)

    opinion = weigh("cannot push r/a:1", waiting, registry(Stage.PUSH))
    failing = weigh("cannot push r/a:1", waiting, registry(Stage.PUSH, "registry_error"))

    assert (opinion.code, opinion.retryable) == (FaultCode.ENGINE_BUSY, True)
    assert opinion.message == "cannot push r/a:1: the Docker Engine is busy with 3 other transfers"
    assert failing.code == FaultCode.REGISTRY_ERROR


def test_a_login_that_the_engine_was_not_asked_for_is_not_called_wrong() -> None:
    late = RegistryReport(Stage.PULL, is_complete=True, is_open=True)

    opinion = weigh(SUBJECT, engine("auth_bad_credentials"), late)

    assert (opinion.code, opinion.retryable) == (FaultCode.AUTH_MISSING, False)
    assert "/v2/" in opinion.remedy


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("cannot pull r.example/team/app:1: gone", f"{SUBJECT}: gone"),
        ("cannot push to r.example/team/app: gone", f"{SUBJECT}: gone"),
        ("cannot log in to r.example: no", f"{SUBJECT}: cannot log in to r.example: no"),
        ("r.example is not a registry", f"{SUBJECT}: r.example is not a registry"),
    ],
)
def test_a_message_begins_with_the_whole_operation(message: str, shown: str) -> None:
    assert name_subject(SUBJECT, message) == shown


@pytest.mark.parametrize(
    ("said", "found"), [("rate_limited", "rate_limited"), ("engine_refused", "registry_error")]
)
def test_the_wait_that_a_registry_asks_for_is_kept(said: str, found: str) -> None:
    opinion = weigh(SUBJECT, engine(said), registry(Stage.PULL, found, 77.0))

    assert (opinion.code, opinion.retry_after_seconds) == (FaultCode(found), 77.0)


codes = st.sampled_from(FaultCode)
reports = st.builds(
    EngineReport, codes, st.just(WORDS), st.booleans(), waited_for=st.integers(0, 3)
)
answers = st.builds(
    RegistryReport,
    st.sampled_from(Stage),
    st.none() | codes,
    st.text(max_size=30),
    is_complete=st.booleans(),
    is_open=st.booleans(),
    has_logged_in=st.booleans(),
    has_image=st.booleans(),
    retry_after_seconds=st.none() | st.floats(0, 100),
)


@given(reports, answers)
def test_a_certain_verdict_is_never_replaced_by_an_uncertain_one(
    said: EngineReport, answer: RegistryReport
) -> None:
    opinion = weigh(SUBJECT, said, answer)

    if said.is_certain:
        assert opinion.code == said.code
    elif answer.is_certain:
        assert opinion.code == answer.code


@given(reports, answers)
def test_a_verdict_is_never_a_guess(said: EngineReport, answer: RegistryReport) -> None:
    opinion = weigh(SUBJECT, said, answer)

    own = {
        FaultCode.AUTH_MISSING,
        FaultCode.ENGINE_REFUSED,
        FaultCode.ENGINE_BUSY,
        FaultCode.REGISTRY_ERROR,
    }
    assert opinion.code in {said.code, answer.code} or (
        opinion.code in own and answer.code is None and answer.is_complete
    )
    assert opinion == weigh(SUBJECT, said, answer)
    assert WORDS in opinion.message + opinion.evidence
