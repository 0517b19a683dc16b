"""Charts as SVG, made on the server: no script and no style attribute."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT, FOOT = 960, 160, 18
STATES = ("succeeded", "failed", "expired", "cancelled")


def draw_hours(hours: Sequence[Mapping[str, Any]]) -> Markup:
    """Draw the jobs that ended in each hour as stacked bars, one colour a state."""
    most = max((sum(hour[state] for state in STATES) for hour in hours), default=0) or 1
    step = WIDTH / max(len(hours), 1)
    bars, labels = Markup(), Markup()
    for position, hour in enumerate(hours):
        top = float(HEIGHT)
        at = datetime.fromisoformat(hour["hour"])
        counts = ", ".join(f"{hour[state]} {state}" for state in STATES if hour[state])
        parts = Markup("<title>{:%H:%M} UTC: {}</title>").format(at, counts or "no jobs")
        for state in STATES:
            height = hour[state] / most * (HEIGHT - 4)
            if not height:
                continue
            top -= height
            parts += Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
            ).format(state, position * step + 1, top, max(step - 2, 1), height)
        bars += Markup("<g>{}</g>").format(parts)
        if position % 6 == 0:
            labels += Markup('<text x="{:.1f}" y="{}">{:%H:%M}</text>').format(
                position * step, HEIGHT + FOOT - 4, at
            )
    return Markup(
        '<svg class="chart" role="img" aria-label="Jobs that ended in each hour, at most {}"'
        ' viewBox="0 0 {} {}">{}{}</svg>'
    ).format(most, WIDTH, HEIGHT + FOOT, bars, labels)
