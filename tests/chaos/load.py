"""Callers that go on asking for jobs, whatever happens, and note what was promised to them."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from tests.chaos.scene import PASSWORD, USER, Scene

AT_ONCE = 24
ANSWER_SECONDS = 40
ACCEPTED = {200, 202}
STRANGER = "stranger"
"""A user whom the registry does not know: a test of this login must not succeed."""


@dataclass(frozen=True)
class Order:
    """A requested job; ``cancel_after``: it is cancelled so much later."""

    procedure: str
    body: Mapping[str, Any]
    cancel_after: float | None = None


@dataclass
class Load:
    """``accepted`` holds the promised jobs; ``cancelled`` those that were said to be cancelled."""

    scene: Scene
    jobs: int
    per_second: float
    chance: Random
    accepted: dict[str, float] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    cancel_requested: set[str] = field(default_factory=set)
    answers: Counter[int | str] = field(default_factory=Counter)
    is_stopping: bool = False
    _serial: int = 0
    _pushed: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """Ask until enough was accepted, or until it has to stop."""
        headers = {"x-api-key": self.scene.stack.admin_key, "prefer": "respond-async"}
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        slots = asyncio.Semaphore(AT_ONCE)
        async with (
            aiohttp.ClientSession(self.scene.stack.url, headers=headers, timeout=limit) as session,
            asyncio.TaskGroup() as group,
        ):
            while len(self.accepted) < self.jobs and not self.is_stopping:
                await slots.acquire()
                asking = group.create_task(self._ask(session, self._next()))
                asking.add_done_callback(lambda _: slots.release())
                await asyncio.sleep(self.chance.expovariate(self.per_second))

    async def _ask(self, session: aiohttp.ClientSession, order: Order) -> None:
        status, answer = await self._post(session, order.procedure, order.body)
        if status not in ACCEPTED:
            return
        job_id = str(answer["jobId"])
        self.accepted[job_id] = time.time()
        if order.cancel_after is not None:
            await asyncio.sleep(order.cancel_after)
            await self._cancel(session, job_id)

    async def _cancel(self, session: aiohttp.ClientSession, job_id: str) -> None:
        self.cancel_requested.add(job_id)
        status, answer = await self._post(session, "job.cancel", {"jobId": job_id})
        if status == 200 and answer["state"] == "cancelled":
            self.cancelled.add(job_id)

    async def _post(
        self, session: aiohttp.ClientSession, procedure: str, body: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, Any]]:
        try:
            async with session.post(f"/api/{procedure}", json=dict(body)) as answer:
                self.answers[answer.status] += 1
                return answer.status, await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Whether it was accepted nobody knows: its name is not used for anything else.
            self.answers[type(error).__name__] += 1
            return 0, {}

    def _next(self) -> Order:
        self._serial += 1
        kinds = {
            self._tag: 50,
            self._push: 12,
            self._pull: 10,
            self._test: 8,
            self._ad_hoc_test: 8,
            self._cancelled_tag: 4,
            self._cancelled_push: 8,
        }
        [make] = self.chance.choices(list(kinds), list(kinds.values()))
        return make(self._serial)

    def _tag(self, serial: int) -> Order:
        body = {"source": self._base(), "target": f"tagged/{serial}:1"}
        return Order("image.tag", body | self._server())

    def _push(self, serial: int) -> Order:
        self._pushed.append(serial)
        body = {"image": self._base(), "name": f"pushed/{serial}", "tag": "1"}
        return Order("image.push", body | self._registry() | self._server())

    def _pull(self, serial: int) -> Order:
        pushed = self.chance.choice(self._pushed or [serial])
        image = f"{self.scene.link.host}/team/pushed/{pushed}:1"
        return Order("image.pull", {"image": image} | self._registry() | self._server())

    def _test(self, _: int) -> Order:
        return Order("registry.testRegistryById", self._registry() | self._server())

    def _ad_hoc_test(self, _: int) -> Order:
        login = {"username": self.chance.choice((USER, STRANGER)), "password": PASSWORD}
        place = {"registryUrl": self.scene.link.host, "imagePrefix": "team"}
        return Order("registry.testRegistry", login | place | self._server())

    def _cancelled_tag(self, serial: int) -> Order:
        tag = self._tag(serial)
        return Order(tag.procedure, tag.body, cancel_after=self.chance.uniform(0, 0.05))

    def _cancelled_push(self, serial: int) -> Order:
        body = {"image": self._base(large=True), "name": f"cancelled/{serial}", "tag": "1"}
        return Order(
            "image.push",
            body | self._registry() | self._server(),
            cancel_after=self.chance.uniform(0, 1.5),
        )

    def _base(self, *, large: bool = False) -> str:
        number = self.chance.randrange(self.scene.images)
        return f"chaos/base:{number - number % 3 if large else number}"

    def _registry(self) -> dict[str, str]:
        return {"registryId": self.scene.registry_id}

    def _server(self) -> dict[str, str]:
        return {"serverId": self.chance.choice(self.scene.servers).server_id}
