"""Every message of the product, read from the code: where an error is made, and its words."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shared.faults import FAULTS, FaultCode
from worker.builds.sources.decompress import ArchiveError
from worker.local.demo.steps import CHECK_FAILED, DemoError

ROOT = Path(__file__).parent.parent.parent
AREAS = {
    "api/cli": "Command line",
    "api/client": "Python client",
    "api": "API",
    "shared/migrations": "Database",
    "shared": "Inputs, references and jobs",
    "worker/builds": "Builds",
    "worker/deployments": "Deployments",
    "worker/engine": "Docker Engine",
    "worker/images": "Images",
    "worker/jobs": "Attempts",
    "worker/oci": "Registries",
    "worker/registries": "Registries",
    "worker/control": "Control",
    "worker/server": "Worker",
    "worker/local": "wharf up and wharf demo",
    "worker": "Worker",
}
"""The heading of each folder; the longest path that fits counts."""

NOT_SHOWN = (
    "shared/migrations/versions/",
    "api/http/openapi/examples.py",
    "api/http/openapi/errors.py",
)
"""Old migrations, and the examples of the OpenAPI document."""

INTERNAL = {"AssertionError", "RuntimeError", "CallError"}
"""Errors that only a defect of the program can raise, or that only a builder gets."""

IN_SQL = re.compile(
    r"'code',\s*'(\w+)'.{0,400}?'message',\s*'((?:[^']|'')+)'(?!\s*\|\|)"
    r"(?:,\s*'remedy',\s*'((?:[^']|'')+)')?",
    re.DOTALL,
)


@dataclass(frozen=True, order=True)
class Message:
    """A message and its remedy; a value that is filled in stands as ``{its name}``."""

    text: str
    remedy: str = ""


def find_messages() -> dict[str, list[Message]]:
    """Return all messages by heading, each once, in order of their words."""
    found: dict[str, set[Message]] = defaultdict(set)
    for package in ("api", "shared", "worker"):
        for file in sorted((ROOT / package).rglob("*.py")):
            name = file.relative_to(ROOT).as_posix()
            if not name.startswith(NOT_SHOWN):
                source = file.read_text(encoding="utf-8")
                found[_area(name)] |= {*_of_module(source), *_of_sql(source)}
        for file in sorted((ROOT / package).rglob("*.sql")):
            name = file.relative_to(ROOT).as_posix()
            found[_area(name)] |= set(_of_sql(file.read_text(encoding="utf-8")))
    return {area: sorted(messages) for area, messages in sorted(found.items()) if messages}


def make_page(introduction: str) -> str:
    """Return the page as Markdown."""
    lines = [introduction]
    for area, messages in find_messages().items():
        lines += [f"## {area}", ""]
        for message in messages:
            lines.append(f"- {_as_code(message.text)}")
            if message.remedy:
                lines.append(f"  {_as_code(message.remedy)}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _as_code(text: str) -> str:
    return f"`{text}`" if "`" not in text else f"`` {text} ``"


def _area(name: str) -> str:
    fitting = [folder for folder in AREAS if name.startswith(f"{folder}/")]
    return AREAS[max(fitting, key=len)]


def _of_module(source: str) -> Iterator[Message]:
    tree = ast.parse(source)
    constants = {
        node.targets[0].id: text
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and (text := _text(node.value))
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_shown(_name(node.func)):
            texts = [text for text in map(_text, node.args) if text and " " in text]
            given = next((word.value for word in node.keywords if word.arg == "remedy"), None)
            remedy = _resolve(given, constants) if given is not None else _default_remedy(node)
            if texts:
                is_check = _name(node.func) == DemoError.__name__
                yield Message(f"{CHECK_FAILED}: {texts[-1]}" if is_check else texts[-1], remedy)


def _is_shown(error: str) -> bool:
    return error.endswith("Error") and error not in INTERNAL


def _resolve(node: ast.AST, constants: Mapping[str, str]) -> str:
    """Return the words of a remedy, which may stand in a constant of the module."""
    if isinstance(node, ast.Name):
        return constants.get(node.id, "")
    return _text(node) or ""


def _of_sql(source: str) -> Iterator[Message]:
    for match in IN_SQL.finditer(source):
        yield Message(*(text.replace("''", "'") for text in (match[2], match[3] or "")))


def _default_remedy(call: ast.Call) -> str:
    for argument in call.args:
        if isinstance(argument, ast.Attribute) and _name(argument.value) == "FaultCode":
            return FAULTS[FaultCode[argument.attr]].remedy
    if _name(call.func) == ArchiveError.__name__ and isinstance(call.args[0], ast.Constant):
        return FAULTS[FaultCode(str(call.args[0].value))].remedy
    return ""


def _text(node: ast.AST) -> str | None:
    """Return the words of a text; of a text with values, each value by its name."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_part(part) for part in parts)
        case _:
            return None


def _part(node: ast.AST) -> str:
    if isinstance(node, ast.FormattedValue):
        return f"{{{_short(node.value)}}}"
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _short(node: ast.AST) -> str:
    """Return a short name for a value: the last attribute, variable, function or key in it."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case ast.Call(func=function):
            return _short(function)
        case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
            return key if isinstance(value, ast.Name) else _short(value)
        case ast.Subscript(value=value):
            return _short(value)
        case _:
            return "…"


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
