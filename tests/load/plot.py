"""A load over time, as SVG: panels below each other with one line or two in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, PANEL, GAP = 980, 70, 20, 130, 46
PLOT = WIDTH - LEFT - RIGHT
COLORS = ("#4878a8", "#c77a2b")

Line = Mapping[str, Any]
Series = Mapping[str, Sequence[float | None]]


def plot(lines: Sequence[Line], about: str) -> str:
    """What `tests.load.running` has noted each second; `about` is the line below the panels."""
    busy = [0.0] + [100 * (b["server_cpu"] - a["server_cpu"]) for a, b in pairwise(lines)]
    panels: dict[str, Series] = {
        "Answers to punches, ms": {name: [line[name] for line in lines] for name in ("p50", "p99")},
        "Server's memory, MiB": {"": [line["rss"] for line in lines]},
        "Server's descriptors": {"": [line["descriptors"] for line in lines]},
        "Server's processor time, percent of one core": {"": busy},
    }
    parts: list[str] = []
    for number, (heading, series) in enumerate(panels.items()):
        parts += _panel(heading, series, 12 + number * (PANEL + GAP), len(lines))
    height = 12 + len(panels) * (PANEL + GAP) + 14
    parts.append(_text(LEFT, height - 10, about))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
    return "\n".join(
        [
            f'{head} font-size="12" role="img">',
            "<title>Load over time</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def _panel(heading: str, series: Series, top: int, seconds: int) -> list[str]:
    highest = max((value for values in series.values() for value in values if value is not None), default=1) or 1
    base = top + 20 + PANEL
    parts = [
        _text(LEFT, top + 12, heading),
        f'<path d="M{LEFT} {top + 20}V{base}H{LEFT + PLOT}" fill="none" stroke="#aaa"/>',
        _text(LEFT - 6, top + 28, f"{highest:.4g}", "end"),
        _text(LEFT - 6, base, "0", "end"),
        _text(LEFT + PLOT, base + 14, f"{seconds} s", "end"),
    ]
    for number, (name, values) in enumerate(series.items()):
        points = " ".join(
            f"{LEFT + i * PLOT / max(1, seconds - 1):.1f},{base - value / highest * PANEL:.1f}"
            for i, value in enumerate(values)
            if value is not None
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLORS[number]}"/>')
        if name:
            parts.append(_text(LEFT + 200 + 60 * number, top + 12, name, color=COLORS[number]))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", color: str = "#222") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'
