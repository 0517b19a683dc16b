import asyncio

import pytest

from shared import coroutines
from shared.coroutines import end, uninterrupted, wait_for_event, within


async def swallow_a_cancel() -> None:
    """As a library does that calls ``wait_for`` of Python 3.11 at the wrong moment."""
    with pytest.raises(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def fail() -> None:
    raise OSError("nobody asks")


async def test_a_task_that_swallows_a_cancel_is_ended_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coroutines, "CANCEL_AGAIN_SECONDS", 0.01)
    stubborn = asyncio.create_task(swallow_a_cancel())
    failed = asyncio.create_task(fail())
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await end(stubborn, failed)

    assert stubborn.cancelled() and failed.done()


async def test_nothing_to_end_is_ended_at_once() -> None:
    await end()


async def test_an_event_is_heard_or_the_time_is_over() -> None:
    event = asyncio.Event()
    assert not await wait_for_event(event, 0.01)

    asyncio.get_running_loop().call_soon(event.set)

    assert await wait_for_event(event, 5)


async def test_a_cancel_is_not_lost_to_an_event_that_comes_with_it() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_for_event(event, 5))
    await asyncio.sleep(0)

    event.set()
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()


async def test_an_uninterruptible_coroutine_ends_whatever_cancels_come() -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    done = []

    async def put_back() -> str:
        begun.set()
        await may_end.wait()
        done.append("put back")
        return "done"

    working = asyncio.create_task(uninterrupted(put_back()))
    await begun.wait()
    for _ in range(3):
        working.cancel()
        await asyncio.sleep(0)
    may_end.set()

    assert await working == "done"
    assert done == ["put back"]


async def test_an_uninterruptible_coroutine_may_fail() -> None:
    async def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await uninterrupted(fail())


async def test_work_is_ended_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coroutines, "CANCEL_AGAIN_SECONDS", 0.01)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await swallow_a_cancel()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.01, work())

    assert ended.is_set()
    assert await within(5, asyncio.sleep(0, "done")) == "done"
