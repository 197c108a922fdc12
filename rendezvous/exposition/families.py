"""Families of samples, made of the counters of `rendezvous.metrics`."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from rendezvous.metrics import Histogram


def counter(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float]) -> CounterMetricFamily:
    """A counter `name` with a sample for each of the `values`, by the tuple of its labels' values."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def gauge(
    name: str, text: str, labels: Sequence[str] = (), values: Mapping[Any, float] | float = 0.0
) -> GaugeMetricFamily:
    """The same for a gauge; one without labels has one value."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in (values if isinstance(values, Mapping) else {(): values}).items():
        family.add_metric(key, value)
    return family


def histogram(name: str, text: str, values: Histogram) -> HistogramMetricFamily:
    """The histogram `name`."""
    bounds = [floatToGoString(bound) for bound in (*values.bounds, float("inf"))]
    buckets = list(zip(bounds, map(float, accumulate(values.counts)), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=values.sum)


def by(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    """`values` by their only label."""
    return {(key,): value for key, value in values.items()}
