"""Apply what time does to jobs, and publish attempts again whose message may be lost."""

from dataclasses import dataclass

from shared.database import Connection
from shared.jobs.store.sweep import sweep
from worker.control.scheduling.publish import Publisher
from worker.control.service import Service


@dataclass(frozen=True)
class Sweep:
    """The service that requeues jobs of lost workers, ends jobs past their deadline, and so on."""

    publisher: Publisher

    def service(self) -> Service:
        return Service.with_connection("sweep", self.sweep)

    async def sweep(self, connection: Connection) -> None:
        await self.publisher.publish(await sweep(connection))
