"""Render the templates: text is escaped, and what could control a terminal or a reader is removed.

Every value that a template writes passes `clean_text`: control characters, ANSI sequences and signs
that change the direction of writing become visible, wherever the text came from.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.console.assets import asset_url

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?")
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
DIGEST_CHARACTERS = 12


def clean_text(text: str) -> str:
    """Remove ANSI sequences; replace characters that are invisible or turn the text around."""
    return _HIDDEN.sub(REPLACEMENT, _ANSI.sub("", text))


def _finalize(value: Any) -> Any:
    if value is None:
        return ""
    return clean_text(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> Environment:
    """Return the environment of all templates."""
    env = Environment(
        loader=PackageLoader("api.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.globals.update(asset=asset_url, now=lambda: datetime.now(UTC))
    env.filters.update(
        when=show_moment,
        size=show_size,
        span=show_span,
        digest=show_digest,
        json=show_json,
        words=show_words,
        between=show_between,
        reference=show_reference,
    )
    env.tests["past"] = is_past
    return env


def render(template: str, values: Mapping[str, Any]) -> str:
    """Render a template of ``templates/``."""
    return environment().get_template(template).render(values)


def show_moment(text: str | None, now: datetime | None = None) -> str | Markup:
    """Return how long ago it was, or how soon it will be, with the exact time on hover."""
    if not text:
        return "never"
    moment = datetime.fromisoformat(text)
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    span = show_span(abs(seconds))
    shown = "now" if abs(seconds) < 1 else f"{span} ago" if seconds > 0 else f"in {span}"
    exact = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, exact, shown)


def is_past(text: str | None) -> bool:
    """Return whether a time has come; no time never comes."""
    return text is not None and datetime.fromisoformat(text) <= datetime.now(UTC)


def show_span(seconds: float | None) -> str:
    """Return a duration in its largest unit, as ``3 min``."""
    if seconds is None:
        return ""
    for size, unit in SPANS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def show_between(begin: str | None, end: str | None, now: datetime | None = None) -> str:
    """Return how long something took, or has taken so far."""
    if not begin:
        return ""
    last = datetime.fromisoformat(end) if end else now or datetime.now(UTC)
    return show_span((last - datetime.fromisoformat(begin)).total_seconds())


def show_size(count: float | None) -> str:
    """Return bytes in the largest unit that leaves a number of at least 1, as ``1.5 MiB``."""
    if count is None:
        return ""
    number, unit = float(count), UNITS[0]
    for unit in UNITS:
        if abs(number) < 1024 or unit == UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == UNITS[0] else f"{number:.1f} {unit}"


def show_digest(digest: str | None) -> str | Markup:
    """Return the first characters of a digest, with the whole one on hover and to copy."""
    if not digest:
        return ""
    whole = clean_text(digest)
    short = whole.partition(":")[2][:DIGEST_CHARACTERS] or whole[:DIGEST_CHARACTERS]
    return Markup('<code class="digest" title="{0}" data-copy="{0}">{1}</code>').format(
        whole, escape(short)
    )


def show_json(document: Any) -> str:
    """Return a document as JSON with line ends."""
    return json.dumps(document, indent=2, ensure_ascii=False)


def show_reference(reference: str) -> str | Markup:
    """Return a reference with the first characters of its digest, if it has one."""
    name, sign, digest = reference.partition("@")
    if not sign:
        return reference
    return Markup("{}@{}").format(clean_text(name), show_digest(digest))


def show_words(name: str) -> str:
    """Return a name in camelCase or snake_case as words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).lower()
