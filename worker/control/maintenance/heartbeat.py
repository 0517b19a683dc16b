"""Record the heartbeat of this control process every second, with its services' statistics.

It also raises the database's epoch, by which ``restore.sql`` detects a restored database.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version

from psycopg.types.json import Jsonb

from shared.database import Connection
from worker.control.service import Service, Statistics

RAISE_EPOCH = """
UPDATE database_epoch SET counter = counter + 1, raised_at = now()
 WHERE ended_at IS NULL AND raised_at < now() - interval '10 seconds'
"""
HEARTBEAT = (
    f"WITH raised AS ({RAISE_EPOCH})"  # noqa: S608 - no input
    """
INSERT INTO control (control_id, version, services) VALUES (%(id)s, %(version)s, %(services)s)
ON CONFLICT (control_id) DO UPDATE SET seen_at = now(), services = excluded.services
"""
)


@dataclass(frozen=True)
class Heartbeat:
    """The heartbeat of one control process; ``statistics`` are those of its services by name."""

    control_id: str
    statistics: Callable[[], Mapping[str, Statistics]]

    def service(self) -> Service:
        return Service.with_connection("heartbeat", self.record)

    async def record(self, connection: Connection) -> None:
        """Record a heartbeat."""
        services = {name: asdict(one) for name, one in self.statistics().items()}
        values = {
            "id": self.control_id,
            "version": version("wharfinger"),
            "services": Jsonb(services),
        }
        await connection.execute(HEARTBEAT, values)
