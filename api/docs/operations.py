"""The API reference: an OpenAPI document as HTML, one passage an operation and one a schema."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from api.docs.rendering import Passage, Rendered, make_anchor, render_text

Json = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_REFERENCE = re.compile(r"^#/components/(\w+)/([^/]+)$")


def render_document(document: Json) -> Rendered:
    """Render whatever the document says, by tags; what it does not say is left out."""
    writer = _Writer(document)
    info = document.get("info", {})
    writer.write(f"<h1>{escape(str(info.get('title', 'API')))} API reference</h1>")
    writer.write(render_text(str(info.get("description", ""))))
    writer.write(
        "<p>This page is made from <a href='/openapi.json'>/openapi.json</a>. Version "
        f"{escape(str(info.get('version', '')))}.</p>"
    )
    groups = _by_tag(document)
    links = "".join(f'<li><a href="#{make_anchor(tag)}">{escape(tag)}</a></li>' for tag in groups)
    writer.write(f'<nav class="headings" aria-label="On this page"><ul>{links}</ul></nav>')
    descriptions = {tag.get("name"): tag.get("description", "") for tag in document.get("tags", ())}
    for tag, operations in groups.items():
        writer.head(2, make_anchor(tag), tag, str(descriptions.get(tag, "")))
        writer.write(render_text(str(descriptions.get(tag, ""))))
        for path, method, operation in operations:
            writer.write_operation(path, method, operation)
    writer.write_schemas()
    return Rendered("\n".join(writer.parts), tuple(writer.passages))


def _by_tag(document: Json) -> dict[str, list[tuple[str, str, Json]]]:
    groups: dict[str, list[tuple[str, str, Json]]] = {
        str(tag["name"]): [] for tag in document.get("tags", ())
    }
    for path, item in document.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                [tag, *_] = item[method].get("tags") or ["other"]
                groups.setdefault(tag, []).append((path, method, item[method]))
    return {tag: operations for tag, operations in groups.items() if operations}


class _Writer:
    """Collect the HTML and the passages of a document."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.parts: list[str] = []
        self.passages: list[Passage] = []

    def write(self, text: str) -> None:
        self.parts.append(text)

    def head(self, level: int, anchor: str, heading: str, text: str = "") -> None:
        """Write a heading that can be linked to and found."""
        self.passages.append(Passage(anchor, heading, level, [text]))
        name = escape(anchor)
        self.write(
            f'<h{level} id="{name}">{escape(heading)} <a class="anchor" href="#{name}" '
            f'aria-label="Link to this heading">#</a></h{level}>'
        )

    def write_operation(self, path: str, method: str, operation: Json) -> None:
        """Write one operation: address, parameters, request, answers."""
        name = str(operation.get("operationId") or f"{method} {path}")
        summary = str(operation.get("summary", ""))
        self.head(3, make_anchor(name), name, f"{path} {summary}")
        self.write(
            f'<p><code><span class="method">{method.upper()}</span> {escape(path)}</code></p>'
        )
        self.write(render_text(f"{summary}." if summary else ""))
        if (description := str(operation.get("description", ""))) != summary:
            self.write(render_text(description))
        self._write_parameters([self._resolve(one) for one in operation.get("parameters", ())])
        if body := self._resolve(operation.get("requestBody", {})):
            self.write("<p><strong>Request body</strong></p>")
            self._write_content(body.get("content", {}), inline=True)
        answers = {str(name): self._resolve(one) for name, one in operation["responses"].items()}
        for status in sorted(answers):
            if status.startswith("2"):
                self.write(f"<p><strong>Answer {status}</strong> {_said(answers[status])}</p>")
                self._write_content(answers[status].get("content", {}))
        self._write_errors({name: one for name, one in answers.items() if name[0] != "2"})

    def write_schemas(self) -> None:
        """Write the named schemas that operations refer to."""
        schemas = self.document.get("components", {}).get("schemas", {})
        if not schemas:
            return
        self.head(2, "schemas", "Schemas")
        for name, schema in schemas.items():
            self.head(3, f"schema-{make_anchor(name)}", name)
            self.write(render_text(str(schema.get("description", ""))))
            self._write_schema(schema)

    def _write_parameters(self, parameters: list[Json]) -> None:
        if not parameters:
            return
        rows = "".join(
            f"<tr><td><code>{escape(str(one.get('name')))}</code>{_required(one)}</td>"
            f"<td>{escape(str(one.get('in')))}</td><td>{self._type(one.get('schema', {}))}</td>"
            f"<td>{_said(one)}</td></tr>"
            for one in parameters
        )
        self.write(
            "<p><strong>Parameters</strong></p><table><thead><tr><th>name</th><th>in</th>"
            f"<th>type</th><th>meaning</th></tr></thead><tbody>{rows}</tbody></table>"
        )

    def _write_errors(self, errors: Mapping[str, Json]) -> None:
        if errors:
            items = "".join(
                f"<li><code>{escape(status)}</code> {_said(errors[status])}</li>"
                for status in sorted(errors)
            )
            self.write(f"<details><summary>Errors</summary><ul>{items}</ul></details>")

    def _write_content(self, content: Json, *, inline: bool = False) -> None:
        """Write what each media type holds; ``inline`` shows the fields of a named schema here."""
        for kind, media in content.items():
            if kind != "application/json":
                self.write(f"<p><code>{escape(kind)}</code></p>")
            schema = media.get("schema", {})
            self._write_schema(self._resolve(schema) if inline else schema)
            for example in _examples(media):
                text = escape(json.dumps(example, indent=2, ensure_ascii=False))
                self.write(f"<p>Example:</p><pre><code>{text}</code></pre>")

    def _write_schema(self, schema: Json) -> None:
        properties = schema.get("properties")
        if not properties:
            if schema:
                self.write(f"<p>{self._type(schema)}</p>")
            return
        required = set(schema.get("required", ()))
        rows = "".join(
            f"<tr><td><code>{escape(name)}</code>{_required({'required': name in required})}</td>"
            f"<td>{self._type(one)}</td><td>{_said(one)}</td></tr>"
            for name, one in properties.items()
        )
        self.write(
            "<table><thead><tr><th>field</th><th>type</th><th>meaning</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def _resolve(self, value: Json) -> Json:
        found = _REFERENCE.match(str(value.get("$ref", "")))
        if found is None:
            return value
        resolved: Json = self.document["components"][found[1]][found[2]]
        return resolved

    def _type(self, schema: Json) -> str:
        return " or ".join(dict.fromkeys(self._types(schema)))

    def _types(self, schema: Json) -> Iterator[str]:
        if found := _REFERENCE.match(str(schema.get("$ref", ""))):
            yield f'<a href="#schema-{make_anchor(found[2])}">{escape(found[2])}</a>'
            return
        choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
        if choices:
            for each in choices:
                yield from self._types(each)
        elif "enum" in schema or "const" in schema:
            values = schema.get("enum", [schema.get("const")])
            yield " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in values)
        elif schema.get("type") == "array":
            yield f"list of {self._type(schema.get('items', {}))}"
        elif isinstance(schema.get("additionalProperties"), Mapping):
            yield f"map of {self._type(schema['additionalProperties'])}"
        else:
            yield escape(str(schema.get("type", "any value")))


def _required(one: Json) -> str:
    return " <small>required</small>" if one.get("required") else ""


def _said(one: Json) -> str:
    schema = one.get("schema", one)
    notes = [escape(str(one.get("description", "")))]
    if "default" in schema and schema["default"] not in (None, "", [], {}):
        notes.append(f"Default: <code>{escape(json.dumps(schema['default']))}</code>.")
    return " ".join(note for note in notes if note)


def _examples(media: Json) -> Iterator[Any]:
    if "example" in media:
        yield media["example"]
    for example in media.get("examples", {}).values():
        if isinstance(example, Mapping) and "value" in example:
            yield example["value"]
