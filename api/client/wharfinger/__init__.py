"""A client of Wharfinger's API for pipelines, synchronous and asynchronous.

```python
from wharfinger import Wharfinger

with Wharfinger("https://wharf.example.com", api_key) as client:
    deployment = client.application.deploy(application_id)
    client.deployment.wait(deployment.deployment_id)
```

The package needs only httpx2 and pydantic. `models`, `synchronous` and `asynchronous` are made from
the API's OpenAPI document by ``make docs``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wharfinger import models
    from wharfinger.client import AsyncWharfinger, Wharfinger
    from wharfinger.errors import ApiError
    from wharfinger.following import Event
    from wharfinger.options import Options
    from wharfinger.retries import Retries

__all__ = [
    "ApiError",
    "AsyncWharfinger",
    "Event",
    "Options",
    "Retries",
    "Wharfinger",
    "models",
]

_MODULES = {
    "ApiError": "errors",
    "AsyncWharfinger": "client",
    "Event": "following",
    "Options": "options",
    "Retries": "retries",
    "Wharfinger": "client",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is used: the models take a while, and not every program needs them."""
    if name == "models":
        return import_module("wharfinger.models")
    if name in _MODULES:
        return getattr(import_module(f"wharfinger.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'wharfinger' has no attribute {name!r}")
