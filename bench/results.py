"""Measuring a row, and what came out: medians, ratio, and whether bar and goal are met."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from bench.lab import Lab
from bench.plan import Plan
from bench.row import Aim, Row, Sample


@dataclass(frozen=True)
class Result:
    """One row with its samples; those of server and limit alternate in time."""

    row: Row
    server: list[Sample]
    limit: list[Sample]

    @property
    def figure(self) -> float:
        """The server's median."""
        return self._median(self.server)

    @property
    def limit_figure(self) -> float | None:
        """The limit's median."""
        return self._median(self.limit) if self.limit and self.row.compared else None

    def _median(self, samples: list[Sample]) -> float:
        return median(float(sample.told[self.row.key]) for sample in samples)

    @property
    def ratio(self) -> float | None:
        """Server to limit, None without a limit."""
        return self.figure / self.limit_figure if self.limit_figure else None

    @property
    def lost(self) -> int:
        """What was lost, refused or wrong in all samples together, of both."""
        return sum(sample.lost for sample in (*self.server, *self.limit))

    def meets(self, aim: Aim | None) -> bool | None:
        """Whether an aim is reached; None when there is none. Whatever loses something reaches nothing."""
        if aim is None:
            return None
        reached = self.figure if aim.of == "figure" else self.ratio
        if self.lost or reached is None:
            return False
        return reached <= aim.value if self.row.less_is_better else reached >= aim.value

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.row.name,
            "title": self.row.title,
            "unit": self.row.unit,
            "figure": self.figure,
            "limit": self.limit_figure,
            "ratio": self.ratio,
            "bar": _aim(self.row.bar),
            "goal": _aim(self.row.goal),
            "met": self.meets(self.row.bar),
            "goal_met": self.meets(self.row.goal),
            "less_is_better": self.row.less_is_better,
            "lost": self.lost,
            "key": self.row.key,
            "server_samples": [sample.told for sample in self.server],
            "limit_samples": [sample.told for sample in self.limit],
        }


def _aim(aim: Aim | None) -> dict[str, Any] | None:
    return None if aim is None else {"value": aim.value, "of": aim.of}


def measure(row: Row, before: Result | None, lab: Lab, plan: Plan) -> Result:
    """Measure a row as often as planned, server and limit in turn, unless the row before has all it needs."""
    if before is not None and before.row.sides is row.sides:
        return replace(before, row=row)
    result = Result(row, [], [])
    with row.sides(lab, plan) as sides:
        for _ in range(1 if row.once else plan.runs):
            result.server.append(sides.server())
            if sides.limit is not None:
                result.limit.append(sides.limit())
    return result
