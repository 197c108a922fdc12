"""The ratios to the limit for people: a chart as SVG, out of what --json has written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, LABELS, VALUES = 980, 400, 60
BAR, STEP, LEGEND, HEADING, MARGIN = 16, 26, 70, 44, 12
PLOT = WIDTH - LABELS - VALUES - MARGIN
COLORS = {"goal": "#2e7d5b", "bar": "#4878a8", "no": "#c77a2b", "": "#9a9a9a"}
LEGENDS = {"goal": "goal reached", "bar": "bar reached", "no": "missed", "": "without a bar"}
MARK = "#222"
FEWEST, MOST = 1.25, 2.5
"""The ratio at the right end of a panel, at least and at most; longer bars end there."""

Measured = Mapping[str, Any]
"""One row of the JSON."""


def chart(written: Mapping[str, Any]) -> str:
    """Two panels of bars, with a mark where a row's bar is and a thinner one for its goal."""
    judged = not written["quick"]
    parts, y = [*_legend(judged)], LEGEND
    for heading, less_is_better in (
        ("More is better: part of the limit", False),
        ("Less is better: multiple of the limit", True),
    ):
        shown = [row for row in written["rows"] if row["ratio"] and row["less_is_better"] is less_is_better]
        if shown:
            parts += _panel(heading, shown, y, judged)
            y += HEADING + STEP * len(shown)
    about = written["machine"]
    told = f"{about['processor']}, Linux {about['kernel']}, Python {about['python']}; {written['network']}"
    parts.append(_text(MARGIN, y + 16, f"{told}; runs: {written['runs']}", size=11))
    height = y + 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13" role="img">'
    )
    background = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, "<title>Ratio to the limit</title>", background, *parts, "</svg>", ""])


def _legend(judged: bool) -> list[str]:
    parts = [_text(MARGIN, 22, "Ratio to the limit of the same run", size=16)]
    x = MARGIN
    for name, color in COLORS.items() if judged else ():
        parts += [_rect(x, 36, 14, 14, color), _text(x + 20, 48, LEGENDS[name])]
        x += 130
    parts += [_line(x, 34, 52, 3), _text(x + 8, 48, "bar"), _line(x + 50, 34, 52, 1), _text(x + 58, 48, "goal")]
    return parts


def _panel(heading: str, shown: Sequence[Measured], y: int, judged: bool) -> list[str]:
    marks = [ratio for row in shown for name in ("bar", "goal") if (ratio := aimed(row, name)) is not None]
    scale = min(MOST, max(FEWEST, *(row["ratio"] for row in shown), *marks) * 1.02)
    one = LABELS + PLOT / scale
    top = y + HEADING - STEP // 2
    parts = [
        _text(MARGIN, y + 18, heading, weight="bold"),
        _line(one, top, top + STEP * len(shown), 1, "#aaa"),
        _text(one - 3, y + 24, "1", "middle", size=11),
    ]
    for i, row in enumerate(shown):
        middle = y + HEADING + STEP * i
        upper, length = middle - BAR // 2, min(row["ratio"], scale) / scale * PLOT
        parts += [
            _text(LABELS - 10, middle + 5, row["title"], "end"),
            _rect(LABELS, upper, length, BAR, COLORS[reached(row) if judged else ""]),
            _text(WIDTH - MARGIN, middle + 5, f"{row['ratio']:.2f}", "end"),
        ]
        for name, stroke in (("bar", 3), ("goal", 1)):
            ratio = aimed(row, name)
            if ratio is not None and ratio <= scale:
                parts.append(_line(LABELS + ratio / scale * PLOT, upper - 3, upper + BAR + 3, stroke))
    return parts


def aimed(row: Measured, name: str) -> float | None:
    """A row's bar or goal as a ratio; one that is a figure counts as a part of the limit measured with it."""
    aim = row[name]
    if aim is None:
        return None
    return float(aim["value"] if aim["of"] == "ratio" else aim["value"] / row["limit"])


def reached(row: Measured) -> str:
    """The better one of bar and goal that is reached, or "no"; empty without a bar."""
    if row["goal_met"]:
        return "goal"
    return {True: "bar", False: "no", None: ""}[row["met"]]


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 13, weight: str = "normal") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f"<text {attributes}>{escape(text)}</text>"


def _rect(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def _line(x: float, top: float, bottom: float, stroke: float, color: str = MARK) -> str:
    ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{stroke}"/>'
