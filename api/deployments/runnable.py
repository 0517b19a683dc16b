"""Check that an Engine can carry out run settings; pure."""

import re
from typing import NamedTuple

from shared.deployments.run_settings import RunSettings
from shared.errors import UnmetConditionError

MAX_HEALTH_SECONDS = 600
"""An attempt has half an hour and may wait for the health check twice."""


class _Names(NamedTuple):
    pattern: re.Pattern[str]
    rule: str


_NAMES = {
    "container": _Names(
        re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+(?<!\.new)(?<!\.old)"),
        "two characters or more, first a letter or a digit, and neither .new nor .old at the end",
    ),
    "service": _Names(
        re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?"),
        "letters, digits, - and _, a letter or a digit at both ends",
    ),
}


def require_runnable(name: str, settings: RunSettings) -> None:
    """Check that the application with this name can be run as its settings say.

    Raises:
        UnmetConditionError: ``too_many_replicas``, ``app_name_unusable``,
            ``health_check_too_slow``.
    """
    if settings.runtime == "container" and settings.replicas > 1:
        raise UnmetConditionError(
            "too_many_replicas",
            f"the application {name} has {settings.replicas} replicas, a server runs one container "
            "of it",
            remedy="Set replicas to 1 with application.update, or runtime to service.",
        )
    _require_name(settings)
    probe = settings.health_check
    if probe is not None and probe.longest_seconds > MAX_HEALTH_SECONDS:
        raise UnmetConditionError(
            "health_check_too_slow",
            f"the health check may take {probe.longest_seconds} s to decide, a deployment waits "
            f"{MAX_HEALTH_SECONDS} s",
            remedy="Lower intervalSeconds, timeoutSeconds, retries or startPeriodSeconds.",
        )


def _require_name(settings: RunSettings) -> None:
    names = _NAMES.get(settings.runtime)
    if names is not None and not names.pattern.fullmatch(settings.name):
        raise UnmetConditionError(
            "app_name_unusable",
            f"no {settings.runtime} can be called {settings.name}",
            remedy=f"Choose another appName: {names.rule}.",
        )
