"""Classify an Engine's error messages: the only place where the text of an error decides.

An Engine answers a wrong password, an unknown host and a missing image alike with 500, and a failed
push with 200, so only the text differs. Only 404 is used: it means what it should, in podman too.
`worker.engine.messages` holds the rules, each with a message of a real Engine as its example.

URLs and the names of the request are removed first, so that a repository called ``denied`` decides
nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import EngineError
from shared.faults import FaultCode
from shared.reference import Reference
from worker.engine.messages.rule import MessageRule
from worker.engine.messages.table import MESSAGE_RULES
from worker.engine.redaction import MAX_INPUT_CHARACTERS, redact
from worker.login import EngineLogin

NOT_FOUND = 404

LOGIN_CODES = frozenset(
    {FaultCode.AUTH_BAD_CREDENTIALS, FaultCode.PULL_DENIED, FaultCode.PUSH_DENIED}
)
"""Codes that say something about a login."""

MAX_MESSAGE_CHARACTERS = 300
"""The maximum length of the Engine's text in an error message."""


@dataclass(frozen=True)
class EngineOperation:
    """A request to the Engine: ``verb`` is ``pull``, ``push`` or any other verb with its object.

    ``missing`` is the code if the Engine answers 404.
    """

    verb: str
    reference: Reference | None = None
    login: EngineLogin | None = None
    missing: FaultCode | None = None

    def __str__(self) -> str:
        """Return the start of a sentence about its failure."""
        return f"cannot {self.verb} {self.reference}" if self.reference else f"cannot {self.verb}"


_EXIT_CODE = re.compile(r"(?:(?:non-zero|exit) code:|exit status) (\d+)\s*$")
_NO_SPACE = re.compile(r"(?i)no space left on device")
_URL = re.compile(r"https?://[^\s\"'<>]+?(?=[:,.)]?(?:[\s\"'<>]|$))")


def make_error(text: str, operation: EngineOperation, *, status: int | None = None) -> EngineError:
    """Make the error for an Engine's message; an unknown one is ``engine_refused``.

    ``status`` is that of the Engine's response, if the message is all of it.
    """
    rule = _find_rule(_remove_names(text[:MAX_INPUT_CHARACTERS], operation.reference), operation)
    code = FaultCode.ENGINE_REFUSED if rule is None else rule.code
    if status == NOT_FOUND and operation.missing:
        code, rule = operation.missing, None
    return EngineError(
        _correct_for_missing_login(code, operation),
        f"{operation}: {redact(text, operation.login)[:MAX_MESSAGE_CHARACTERS]}",
        remedy=rule.remedy if rule else "",
        is_certain=rule.decides if rule else None,
    )


def make_build_error(
    text: str, operation: EngineOperation, *, step: str, output: Sequence[str]
) -> EngineError:
    """Make the error of a build; ``step`` is the current step, ``output`` its last lines.

    If the disk was full, a step fails like any other one: only its output shows the reason.
    """
    error = make_error(text, operation)
    if error.code != FaultCode.BUILD_FAILED:
        return error
    exit_code = _EXIT_CODE.search(text)
    ended = f"ended with exit code {exit_code[1]}" if exit_code else f"failed: {error.message}"
    is_full = any(_NO_SPACE.search(line) for line in output)
    code = FaultCode.DISK_FULL if is_full else FaultCode.BUILD_FAILED
    return EngineError(
        code, f"{operation}: {redact(step, operation.login)[:MAX_MESSAGE_CHARACTERS]!r} {ended}"
    )


def _find_rule(text: str, operation: EngineOperation) -> MessageRule | None:
    for rule in MESSAGE_RULES:
        if rule.verb in {None, operation.verb} and re.search(rule.pattern, text):
            return rule
    return None


def _correct_for_missing_login(code: FaultCode, operation: EngineOperation) -> FaultCode:
    """Return ``auth_missing`` if a refused login answers a request that had none."""
    is_anonymous = operation.login is None or not operation.login.secret.get_secret_value()
    if code in LOGIN_CODES and is_anonymous:
        return FaultCode.AUTH_MISSING
    return code


def _remove_names(text: str, reference: Reference | None) -> str:
    text = _URL.sub("URL", text)
    if reference is None:
        return text
    target = rf"(?:[:@]{re.escape(reference.target)})?"
    familiar = reference.repository.removeprefix("library/")
    for name in (reference.name, reference.repository, familiar):
        text = re.sub(rf"(?<![\w./-]){re.escape(name)}{target}(?![\w/-])", "X", text)
    return text
