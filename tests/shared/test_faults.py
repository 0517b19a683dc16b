"""Properties of the table of faults."""

import pytest

from shared.faults import FAULTS, FaultCode


def test_every_code_has_a_verdict() -> None:
    assert set(FAULTS) == set(FaultCode)


@pytest.mark.parametrize("code", FaultCode)
def test_a_remedy_is_a_sentence(code: FaultCode) -> None:
    remedy = FAULTS[code].remedy

    assert remedy.endswith(".") and remedy[0].isupper()


@pytest.mark.parametrize(
    "code",
    [
        FaultCode.REGISTRY_READ_ONLY,
        FaultCode.QUOTA_EXCEEDED,
        FaultCode.LOCATION_MISMATCH,
        FaultCode.COMPRESSION_UNSUPPORTED,
        FaultCode.AUTH_EXPIRED,
    ],
)
def test_a_lasting_fault_is_not_retried(code: FaultCode) -> None:
    assert not FAULTS[code].retryable


@pytest.mark.parametrize(
    "code", [FaultCode.ENGINE_REFUSED, FaultCode.IMAGE_NOT_FOUND, FaultCode.CONN_RESET]
)
def test_a_code_with_several_causes_is_not_certain_in_an_engines_words(code: FaultCode) -> None:
    assert not FAULTS[code].certain


def test_a_code_with_one_cause_is_certain_in_an_engines_words() -> None:
    assert FAULTS[FaultCode.TAG_IMMUTABLE].certain
