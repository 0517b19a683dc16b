"""The whole table of messages; rules are tried from top to bottom."""

from worker.engine.messages.builds import BUILD_RULES
from worker.engine.messages.connections import CONNECTION_RULES, ENGINE_RULES, INTERRUPTION_RULES
from worker.engine.messages.containers import CONTAINER_RULES
from worker.engine.messages.registries import (
    CONTENT_RULES,
    LIMIT_RULES,
    LOGIN_RULES,
    REFUSAL_RULES,
)

MESSAGE_RULES = (
    *BUILD_RULES,
    *CONTAINER_RULES,
    *ENGINE_RULES,
    *LIMIT_RULES,
    *CONNECTION_RULES,
    *CONTENT_RULES,
    *LOGIN_RULES,
    *REFUSAL_RULES,
    *INTERRUPTION_RULES,
)
