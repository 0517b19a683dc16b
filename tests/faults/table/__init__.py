"""All faults, each with the codes that are right for each operation, written before any run."""

from tests.faults.fault import Fault
from tests.faults.table.access import ACCESS, ANONYMOUS
from tests.faults.table.addresses import NO_REGISTRY
from tests.faults.table.connections import CONNECTIONS, LOCATIONS
from tests.faults.table.engines import ENGINE_FAULTS
from tests.faults.table.good import GOOD
from tests.faults.table.images import IMAGES
from tests.faults.table.statuses import at_each_stage
from tests.faults.table.tokens import TOKENS

FAULTS: tuple[Fault, ...] = (
    *GOOD,
    *at_each_stage(),
    *NO_REGISTRY,
    *ACCESS,
    *IMAGES,
    *LOCATIONS,
    *CONNECTIONS,
    *TOKENS,
    *ANONYMOUS,
    *ENGINE_FAULTS,
)
