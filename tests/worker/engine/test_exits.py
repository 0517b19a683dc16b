"""The exit code of a run that ended, from the events of an Engine."""

import json
import time
from pathlib import Path

from aiohttp import web

from tests.worker.engine.parts import open_scripted_engine
from worker.engine.exits import find_exit_code
from worker.engine.transport.connection import Engine


async def test_a_run_that_ended_in_this_second_has_its_exit_code(tmp_path: Path) -> None:
    """An Engine takes whole seconds as the start of that second."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seconds, _, fraction = request.query["until"].partition(".")
        if not fraction or int(seconds) * 10**9 + int(fraction) < ended:
            return web.Response(content_type="application/json")
        died = {"Action": "die", "Actor": {"Attributes": {"exitCode": "3"}}}
        return web.Response(text=json.dumps(died), content_type="application/json")

    async with (
        open_scripted_engine(tmp_path, answer) as scripted,
        Engine.open(scripted.docker_host) as engine,
    ):
        ended = time.time_ns()
        code = await find_exit_code(engine, "container")

    assert code == 3
