"""Statuses that mean the same at each stage of a pull or a push."""

from shared.faults import FaultCode as Code
from tests.faults.fault import Fault, Stage, reading, with_engine, writing
from tests.faults.responses import page, refuses, says
from tests.faults.server import Respond

BUSY = {"Retry-After": "7"}
STATUSES: tuple[tuple[str, Respond, Code], ...] = (
    ("429", refuses(429, "TOOMANYREQUESTS", "slow down", BUSY), Code.RATE_LIMITED),
    ("429 without a body", says(429), Code.RATE_LIMITED),
    ("500", refuses(500, "UNKNOWN", "unknown error"), Code.REGISTRY_ERROR),
    ("502 page", page(502, "Bad Gateway"), Code.REGISTRY_ERROR),
    ("503", says(503, "upstream connect error"), Code.REGISTRY_ERROR),
    ("504 page", page(504, "Gateway Time-out"), Code.REGISTRY_ERROR),
    ("firewall's page", page(403, "Access blocked by policy"), Code.BLOCKED_BY_PROXY),
)
"""Answers that mean the same at each stage."""

RETRIED_SECONDS = 120.0
"""An Engine retries a layer by itself: five times, with longer and longer pauses (75 s)."""

PULL_STAGES = (Stage.MANIFEST, Stage.CONFIG, Stage.LAYER)
PUSH_STAGES = (Stage.UPLOAD_START, Stage.UPLOAD_SEND, Stage.UPLOAD_END, Stage.MANIFEST_PUT)


def at_each_stage() -> list[Fault]:
    """Return every status at every stage."""
    faults = [
        Fault(f"ping: {name}", with_engine(code), Stage.PING, respond)
        for name, respond, code in STATUSES
    ]
    for stage in PULL_STAGES:
        faults += [
            Fault(f"{stage}: {name}", reading(code), stage, respond, within_seconds=RETRIED_SECONDS)
            for name, respond, code in STATUSES
        ]
    for stage in PUSH_STAGES:
        faults += [
            Fault(
                f"{stage}: {name}",
                writing(code, test=(code,) if stage is Stage.UPLOAD_START else ()),
                stage,
                respond,
                within_seconds=RETRIED_SECONDS,
            )
            for name, respond, code in STATUSES
        ]
    return faults
