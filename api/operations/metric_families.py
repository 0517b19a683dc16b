"""Make the metric families of Prometheus from rows."""

from collections.abc import Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

Row = dict[str, Any]


def make_counter(name: str, description: str, value: int) -> Metric:
    family = CounterMetricFamily(name, description)
    family.add_metric([], value)
    return family


def make_gauge(
    name: str, description: str, rows: Sequence[Row], *labels: str, value: str = "value"
) -> Metric:
    family = GaugeMetricFamily(name, description, labels=labels)
    for row in rows:
        family.add_metric([str(row[label]) for label in labels], float(row[value] or 0))
    return family
