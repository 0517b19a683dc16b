"""Check that the logins of all providers behave alike."""

import time
from datetime import timedelta

import pytest

from shared.errors import RegistryError
from tests.fakes.providers.clients import LIMIT
from tests.fakes.providers.cloud import Misbehaviour
from tests.worker.control.providers.login_cases import Case

pytestmark = pytest.mark.real_parts

REFUSED = {"credential_refused", "auth_bad_credentials"}
UNUSABLE = {"auth_server_unreachable", "registry_error", "conn_refused", "conn_timeout"}


async def fail(case: Case, *, is_right: bool = True) -> RegistryError:
    """Log in and start a push; return the error, which shows no secret."""
    with pytest.raises(RegistryError) as raised:
        await case.start_push(await case.log_in(is_right=is_right))
    error = raised.value
    for text in (error.message, error.remedy, error.evidence, repr(error), str(error.__cause__)):
        assert not [secret for secret in case.secrets if secret in text]
    return error


async def test_a_right_credential_starts_a_push(case: Case) -> None:
    await case.start_push(await case.log_in())


async def test_a_refused_credential_is_called_so_and_is_not_tried_again(case: Case) -> None:
    error = await fail(case, is_right=False)

    assert error.code in REFUSED
    assert not error.retryable


@pytest.mark.parametrize("minutes", [-5, 5])
async def test_a_clock_that_is_five_minutes_off_changes_nothing(case: Case, minutes: int) -> None:
    case.cloud.clock.offset = timedelta(minutes=minutes)

    await case.start_push(await case.log_in())


async def test_a_token_server_that_is_down_is_named_and_asked_again_later(case: Case) -> None:
    case.go_down()

    error = await fail(case)

    assert error.code in UNUSABLE
    assert error.retryable


@pytest.mark.parametrize("how", ["page", "large", "slow", "busy"])
async def test_an_answer_that_is_of_no_use_is_an_error_that_passes(
    case: Case, how: Misbehaviour
) -> None:
    case.cloud.misbehaviour = how
    if how == "slow":
        case.limit_to(timedelta(seconds=1))
    begun = time.monotonic()

    error = await fail(case)

    assert error.code in UNUSABLE
    assert error.retryable
    assert time.monotonic() - begun < LIMIT.total_seconds()


async def test_a_provider_that_has_recovered_gives_logins_again(case: Case) -> None:
    case.cloud.misbehaviour = "busy"
    await fail(case)
    case.cloud.misbehaviour = ""

    await case.start_push(await case.log_in())


async def test_a_token_that_had_already_expired_is_not_used(case: Case) -> None:
    case.set_life(timedelta(seconds=-5))

    error = await fail(case)

    assert error.code in UNUSABLE | {"auth_bad_credentials"}


async def test_a_login_that_has_ended_is_refused_by_the_registry(case: Case) -> None:
    login = await case.log_in()
    case.expire()

    if case.cloud.token_hosts and login.username != "dockerhubuser":
        with pytest.raises(RegistryError) as raised:
            await case.start_push(login)
        assert raised.value.code in REFUSED
    else:
        await case.start_push(login)  # a static login gets a new token
