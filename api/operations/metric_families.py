"""Make the metric families of Prometheus from rows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, product
from math import inf
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

Row = dict[str, Any]
Labels = tuple[str, ...]


def make_counter(name: str, description: str, value: int) -> Metric:
    return make_counters(name, description, {(): value})


def make_counters(
    name: str, description: str, values: Mapping[Labels, float], *labels: str
) -> Metric:
    """Make a counter with a value for each combination of labels."""
    family = CounterMetricFamily(name, description, labels=labels)
    for of_labels, value in values.items():
        family.add_metric(of_labels, value)
    return family


def make_gauge(
    name: str,
    description: str,
    rows: Sequence[Row],
    *labels: str,
    value: str = "value",
    expected: Sequence[Sequence[str]] = (),
) -> Metric:
    """Make a gauge from rows; ``expected`` are values of each label that are shown also if 0."""
    family = GaugeMetricFamily(name, description, labels=labels)
    values = dict.fromkeys(_combine(expected), 0.0)
    for row in rows:
        values[tuple(str(row[label]) for label in labels)] = float(row[value] or 0)
    for of_labels, number in values.items():
        family.add_metric(of_labels, number)
    return family


def make_histogram(
    name: str,
    description: str,
    values: Mapping[str, tuple[Mapping[float, int], float]],
    label: str,
    bounds: Sequence[float],
) -> Metric:
    """Make a histogram; ``values`` are the numbers by upper bound, and the sum, of each label.

    A number counts at the next of the ``bounds`` if its own is not among them.
    """
    family = HistogramMetricFamily(name, description, labels=[label])
    for of_label, (counted, total) in values.items():
        lower = (-inf, *bounds[:-1])
        within = [
            sum(number for bound, number in counted.items() if low < bound <= high)
            for low, high in zip(lower, bounds, strict=True)
        ]
        names = ("+Inf" if bound == inf else str(bound) for bound in bounds)
        family.add_metric([of_label], list(zip(names, accumulate(within), strict=True)), total)
    return family


def _combine(expected: Sequence[Sequence[str]]) -> Iterator[Labels]:
    if expected:
        yield from (tuple(str(value) for value in values) for values in product(*expected))
