"""Asking a server for its figures, as Prometheus does."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


@dataclass
class Scrape:
    """What one answer holds."""

    families: Mapping[str, Metric]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples `name` whose labels have these values."""
        samples = [sample for family in self.families.values() for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1") -> str:
    """The body of an answer, which must be a good one."""
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def scrape(port: int) -> Scrape:
    """All figures now."""
    return Scrape({family.name: family for family in text_string_to_metric_families(get(port))})
