"""Control processes as tasks of a test, and what stands in the queues of their broker."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from shared.database import listening, open_pool
from tests.waiting import wait_until
from tests.worker.control.endpoints import ANYWHERE
from tests.world import EnrolledServer, World
from worker.broker_users import ADMIN
from worker.control.access.broker_state import open_broker
from worker.control.access.broker_users import BrokerUsers
from worker.control.main import CHANNELS, Control
from worker.control.scheduling.publish import Publisher
from worker.local.processes import Child
from worker.local.valkey import LocalValkey


@dataclass(frozen=True)
class Message:
    """Return the settings that a server's worker would get."""

    kind: str
    job_id: str
    attempt: int


@dataclass
class Plane:
    """A world, and the broker that control rings through."""

    world: World
    broker: LocalValkey

    @asynccontextmanager
    async def open_control(
        self, *, listens: bool = True, makes_users: bool = False, approves: bool = False
    ) -> AsyncIterator[Control]:
        """A control process during the block; ``listens``: notifications reach it.

        ``makes_users``: it has the URL of the broker's administrator; ``approves``: servers that
        join are approved by it.
        """
        url = self.world.database.url("wharf_control")
        publisher = Publisher(self.broker.url("control"))
        async with AsyncExitStack() as stack:
            stack.callback(publisher.close)
            pool = await stack.enter_async_context(open_pool(url))
            control = Control(pool, self.world.keys, publisher, webhook_networks=ANYWHERE)
            control.auto_approve = approves
            if makes_users:
                client = await stack.enter_async_context(open_broker(self.broker.url(ADMIN)))
                control.broker, control.broker_users = client, BrokerUsers(client)
            if listens:
                await stack.enter_async_context(listening(url, CHANNELS, control.on_notification))
            running = asyncio.create_task(control.run())
            try:
                yield control
            finally:
                control.stop()
                await running

    def start_process(self, log: Path) -> Child:
        """Start a control process of its own, which may be killed."""
        env = {
            "WHARF_DATABASE_URL": self.world.database.url("wharf_control"),
            "WHARF_BROKER_URL": self.broker.url("control"),
            "WHARF_VAULT_PRIVATE_KEY": self.world.vault.text(),
            "WHARF_WEBHOOK_NETWORKS": "public,private,loopback",
        }
        command = [sys.executable, "-m", "worker.control.main"]
        return Child.start("control", command, log=log, env=env, without="WHARF_")

    def messages(self, server: EnrolledServer) -> list[Message]:
        """Return the messages of the server's queue, oldest first."""
        with redis.Redis.from_url(self.broker.url(ADMIN)) as client:
            waiting = [
                json.loads(raw) for raw in client.lrange(f"server.{server.server_id}", 0, -1)
            ]
        return [_parse(message) for message in reversed(waiting)]

    def lose_messages(self) -> None:
        with redis.Redis.from_url(self.broker.url(ADMIN)) as client:
            client.flushall()

    async def wait_for_message(
        self, server: EnrolledServer, job_id: str, *, seconds: float = 10
    ) -> Message:
        """The first message about the job."""
        found: list[Message] = []

        async def has_come() -> bool:
            found.extend(m for m in self.messages(server) if m.job_id == job_id)
            return bool(found)

        await wait_until(has_come, seconds=seconds)
        return found[0]


def _parse(message: dict[str, object]) -> Message:
    [job_id, attempt], *_ = json.loads(base64.b64decode(str(message["body"])))
    headers = message["headers"]
    assert isinstance(headers, dict)
    return Message(str(headers["task"]), job_id, attempt)
