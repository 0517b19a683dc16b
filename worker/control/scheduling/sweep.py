"""Apply lease, deadline and need rules to jobs; publish possibly lost messages again."""

from dataclasses import dataclass

from shared.database import Connection
from shared.jobs.store.sweep import sweep
from worker.control.scheduling.publish import Publisher
from worker.control.service import Service


@dataclass(frozen=True)
class Sweep:
    """The service that requeues jobs of lost workers, ends overdue jobs, and so on."""

    publisher: Publisher

    def service(self) -> Service:
        return Service.with_connection("sweep", self.sweep)

    async def sweep(self, connection: Connection) -> None:
        await self.publisher.publish(await sweep(connection))
