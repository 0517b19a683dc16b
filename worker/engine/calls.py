"""The calls that a worker needs from its Engine, and which of them a proxy in front refuses.

A socket proxy allows only some calls and answers 403 to the others. Each call is tried here in a
form that changes nothing: it names what no Engine has.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from worker.engine.transport.connection import Engine

NOTHING = "wharf-probe/none:none"


@dataclass(frozen=True)
class NeededCall:
    """A call in its harmless form; ``shown`` is how people know it, ``purpose`` what needs it."""

    method: str
    path: str
    shown: str
    purpose: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: JsonValue = None


NEEDED_CALLS = (
    NeededCall("GET", "info", "GET /info", "everything"),
    NeededCall("GET", f"images/{NOTHING}/json", "GET /images", "images"),
    NeededCall(
        "POST", "images/create", "POST /images", "pulls and pushes", {"fromImage": "INVALID::NAME"}
    ),
    NeededCall("DELETE", f"images/{NOTHING}", "DELETE /images", "pulls"),
    NeededCall("GET", "containers/wharf-probe/json", "GET /containers", "deployments"),
    NeededCall(
        "POST", "containers/create", "POST /containers", "deployments", body={"Image": NOTHING}
    ),
    NeededCall("DELETE", "containers/wharf-probe", "DELETE /containers", "deployments"),
    NeededCall("POST", "build", "POST /build", "builds", {"version": "none"}),
)


async def find_refused_calls(engine: Engine) -> list[str]:
    """Return the needed calls that are refused before they reach the Engine: ``POST /build``.

    Raises:
        EngineError: the Engine does not answer.
    """
    return [
        call.shown
        for call in NEEDED_CALLS
        if not await engine.allows(call.method, call.path, params=call.params, body=call.body)
    ]
