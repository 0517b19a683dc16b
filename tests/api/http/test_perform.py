"""How long a call may take."""

import asyncio
from datetime import timedelta
from typing import Any

from starlette.requests import Request

from api.errors import UnavailableError
from api.fields.shapes import NoInput
from api.http.calls import Call, Failure
from api.http.perform import perform
from api.procedure.context import Context
from api.procedure.procedure import Procedure


async def wait_without_end(_context: Context, _asked: NoInput) -> bool:
    return await asyncio.Event().wait()


async def test_a_call_that_waits_for_what_does_not_come_is_answered_all_the_same() -> None:
    endless: Procedure[Any, Any] = Procedure(
        "endless", "query", NoInput, bool, wait_without_end, role=None
    )
    call = Call("endless", endless, dict, total=timedelta(milliseconds=20))
    request = Request({"type": "http", "headers": [], "client": None})
    resources: Any = None

    [answer] = await perform(resources, request, [call])

    assert isinstance(answer, Failure) and isinstance(answer.error, UnavailableError)
    assert answer.http == 503
