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
