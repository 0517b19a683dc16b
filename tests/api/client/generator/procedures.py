"""The two modules of procedures: the same groups, for threads and for event loops."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.api.client.generator.annotations import annotate, snake
from tests.api.client.generator.operations import Operation
from tests.api.client.generator.text import docstring

CLIENT = Path(__file__).parents[4] / "api" / "client" / "wharfinger"
NAMES = {"registry.testRegistry": "test", "registry.testRegistryById": "test_by_id"}
"""The methods whose name is not the procedure's in snake_case."""

HEAD = '''"""The procedures of the API, {by}.

Made by ``make docs`` from the OpenAPI document: change the API, not this module.
"""

{imports}
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, overload

from pydantic import JsonValue

from wharfinger import following, models, uploading
from wharfinger.caller import Caller
from wharfinger.calls import OMIT, Call, Omit
from wharfinger.following import Event, OnEvent
from wharfinger.groups import {base}
'''


@dataclass(frozen=True)
class Flow:
    """A coroutine of ours that is a method of a group; its first argument is the caller."""

    noun: str
    verb: str
    module: str
    function: str
    instead_of: str | None = None

    @property
    def node(self) -> ast.AsyncFunctionDef:
        tree = ast.parse((CLIENT / f"{self.module}.py").read_text(encoding="utf-8"))
        return next(
            node
            for node in tree.body
            if isinstance(node, ast.AsyncFunctionDef) and node.name == self.function
        )


FLOWS = (
    Flow("job", "wait", "following", "wait_for_job"),
    Flow("job", "events", "following", "follow_events", "job.events"),
    Flow("build", "wait", "following", "wait_for_build"),
    Flow("deployment", "wait", "following", "wait_for_deployment"),
    Flow(
        "application", "upload_context", "uploading", "upload_context", "application.uploadContext"
    ),
)


def write_procedures(operations: list[Operation], *, is_async: bool) -> str:
    """Return the module."""
    prefix = "Async" if is_async else ""
    imports = "from collections.abc import " + ("AsyncGenerator" if is_async else "Iterator")
    by = "for an event loop" if is_async else "for a thread that may block"
    parts = [HEAD.format(by=by, imports=imports, base=f"{prefix}Group")]
    ours = {flow.instead_of for flow in FLOWS}
    called = sorted((each for each in operations if each.name not in ours), key=_noun)
    nouns = []
    for noun, each in groupby(called, _noun):
        nouns.append(noun)
        flows = [flow for flow in FLOWS if flow.noun == noun]
        methods = [
            *(_write(operation, is_async=is_async) for operation in each),
            *(_write_flow(flow, is_async=is_async) for flow in flows),
        ]
        head = f'class {prefix}{_class(noun)}({prefix}Group):\n    """Procedures of `{noun}`."""\n'
        parts.append("\n".join([head, *methods]))
    parts.append("\n".join(_write_all(nouns, prefix)))
    return "\n\n".join(parts)


def method_name(operation: Operation) -> str:
    """Return the name of the method."""
    return NAMES.get(operation.name) or snake(operation.verb)


def _noun(operation: Operation) -> str:
    return operation.noun


def _class(noun: str) -> str:
    return f"{noun[0].upper()}{noun[1:]}Procedures"


def _write(operation: Operation, *, is_async: bool) -> str:
    answer = annotate(operation.answer, prefix="models.")
    begin, wait = ("async def", "await ") if is_async else ("def", "")
    head = f"    {begin} {method_name(operation)}"
    overloads, answered, sent = "", answer, answer
    if operation.accepted is not None:
        accepted = annotate(operation.accepted, prefix="models.")
        answered = f"{answer} | {accepted}"
        sent = f"{accepted} if respond_async else {answer}"
        overloads = "".join(
            f"    @overload\n{head}({_arguments(operation, is_told)}) -> {kind}: ...\n\n"
            for is_told, kind in (
                ("Literal[False] = False", answer),
                ("Literal[True]", accepted),
                ("bool", answered),
            )
        )
    told = "bool = False" if operation.heeds_prefer else ""
    fields = ", ".join(f"{json.dumps(name)}: {snake(name)}" for name in operation.fields)
    more = ", takes_key=True, idempotency_key=idempotency_key" if operation.takes_key else ""
    more += ", respond_async=respond_async" if operation.heeds_prefer else ""
    return (
        f"{overloads}{head}({_arguments(operation, told)}) -> {answered}:\n"
        f"{docstring(operation.text, _descriptions(operation), indent=' ' * 8)}\n"
        f"        return {wait}self._call(Call[{answered}]({json.dumps(operation.name)}, {sent}, "
        f"{json.dumps(operation.method)}, {{{fields}}}{more}))\n"
    )


def _arguments(operation: Operation, told: str) -> str:
    """Return the arguments; ``told`` is the annotation of ``respond_async``, if it is one."""
    required = [name for name in operation.fields if name in operation.required]
    optional = [name for name in operation.fields if name not in operation.required]
    kinds = {name: annotate(each, prefix="models.") for name, each in operation.fields.items()}
    # The only field that is required needs no name.
    star = [] if len(required) == 1 else ["*"]
    late = [f"{snake(name)}: {_omittable(kinds[name])} = OMIT" for name in optional]
    late += ["idempotency_key: str | None = None"] if operation.takes_key else []
    late += [f"respond_async: {told}"] if told else []
    needed = [f"{snake(name)}: {kinds[name]}" for name in required]
    rest = ["*", *late] if not star and late else late
    return ", ".join(["self", *(star if needed or late else []), *needed, *rest])


def _descriptions(operation: Operation) -> dict[str, str]:
    said = {snake(name): each.get("description", "") for name, each in operation.fields.items()}
    if operation.takes_key:
        said["idempotency_key"] = "Makes a repetition, also by another process, the same work."
    if operation.accepted is not None:
        said["respond_async"] = "Do not wait for the job: return its id at once."
    elif operation.heeds_prefer:
        said["respond_async"] = "Do not wait for the jobs: return what is known at once."
    return said


def _omittable(kind: str) -> str:
    is_nullable = kind.endswith(" | None")
    return f"{kind.removesuffix(' | None')} | Omit{' | None' if is_nullable else ''}"


def _write_flow(flow: Flow, *, is_async: bool) -> str:
    node = flow.node
    given = node.args
    first, *others = given.args
    assert first.arg == "caller"
    given.args = [ast.arg("self"), *others]
    names = [each.arg for each in others]
    named = [f"{each.arg}={each.arg}" for each in given.kwonlyargs]
    answer = ast.unparse(node.returns) if node.returns else "None"
    call = f"{flow.module}.{flow.function}({', '.join(['self._caller', *names, *named])})"
    begin, done = "async def", f"await {call}"
    if answer.startswith("AsyncGenerator"):
        begin, done = "def", call if is_async else f"self._iterate({call})"
        answer = answer if is_async else answer.replace("AsyncGenerator", "Iterator", 1)
        answer = answer if is_async else answer.replace(", None", "")
    else:
        answer = f"models.{answer}"
        begin, done = (begin, done) if is_async else ("def", f"self._complete({call})")
    text = ast.get_docstring(node) or ""
    said = f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'
    return (
        f"    {begin} {flow.verb}({ast.unparse(given)}) -> {answer}:\n"
        f"{_indent(said)}\n        return {done}\n"
    )


def _indent(text: str) -> str:
    return re.sub(r"(?m)^(?=.)", " " * 8, text)


def _write_all(nouns: list[str], prefix: str) -> Iterator[str]:
    yield f"class {prefix}Procedures:"
    yield '    """All procedures, by their nouns."""\n'
    yield "    def __init__(self, caller: Caller) -> None:"
    for noun in nouns:
        yield f"        self.{snake(noun)} = {prefix}{_class(noun)}(caller)"
