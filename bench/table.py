"""The results for people: a table in Markdown, and a chart of the ratios as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.results import Result
from bench.rows import Aim

HEAD = ("row", "figure", "unit", "limit", "ratio", "bar", "goal", "met", "lost")
LEFT = (0, 2)
"""Columns of text."""
WIDTH, LABELS, BAR, STEP, TOP = 900, 330, 16, 28, 40
SCALE = 1.25
"""The ratio at the right end of the chart."""


def number(value: float | None) -> str:
    """Three digits that count, in thousands where there are many."""
    if value is None:
        return ""
    if value >= 10_000:
        return f"{value / 1000:.4g} k" if value < 1_000_000 else f"{value / 1000:.0f} k"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def aim(wanted: Aim | None, less_is_better: bool) -> str:
    """A bar or a goal, and of what."""
    if wanted is None:
        return ""
    text = f"{'≤' if less_is_better else '≥'} {number(wanted.value)}"
    return f"{text} of limit" if wanted.of == "ratio" else text


def met(result: Result) -> str:
    """Which of bar and goal are reached."""
    if result.meets(result.row.goal):
        return "goal"
    return {True: "bar", False: "no", None: ""}[result.meets(result.row.bar)]


def cells(result: Result, judged: bool) -> tuple[str, ...]:
    """A row of the table."""
    row = result.row
    ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
    return (
        row.title,
        number(result.figure),
        row.unit,
        number(result.limit_figure),
        ratio,
        aim(row.bar, row.less_is_better),
        aim(row.goal, row.less_is_better),
        met(result) if judged else "",
        str(result.lost),
    )


def table(results: Sequence[Result], judged: bool) -> str:
    """All rows, aligned; what was only tried is not judged."""
    lines = [HEAD, *(cells(result, judged) for result in results)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(HEAD))]

    def text(line: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if i in LEFT else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * width if i in LEFT else "-" * (width - 1) + ":" for i, width in enumerate(widths))
    return "\n".join([text(HEAD), f"| {' | '.join(rule)} |", *(text(line) for line in lines[1:])])


def chart(results: Sequence[Result]) -> str:
    """A bar for each ratio to the limit, with a mark where its bar is and a thinner one for its goal."""
    shown = [(result, ratio) for result in results if not result.row.less_is_better and (ratio := result.ratio)]
    height = TOP + STEP * len(shown) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="10" y="22">Ratio to the limit of the machine; 1 is the limit</text>',
        f'<line x1="{_x(1):.1f}" x2="{_x(1):.1f}" y1="{TOP - 8}" y2="{height - 8}" stroke="#999"/>',
    ]
    for i, (result, ratio) in enumerate(shown):
        y = TOP + STEP * i
        parts += [
            f'<text x="{LABELS - 10}" y="{y + 13}" text-anchor="end">{escape(result.row.title)}</text>',
            f'<rect x="{LABELS}" y="{y}" width="{_x(ratio) - LABELS:.1f}" height="{BAR}" fill="#4878a8"/>',
            f'<text x="{WIDTH - 10}" y="{y + 13}" text-anchor="end">{ratio:.2f}</text>',
        ]
        for wanted, stroke in ((result.row.bar, 3), (result.row.goal, 1)):
            if wanted is not None and wanted.of == "ratio":
                x = _x(wanted.value)
                parts.append(
                    f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + BAR + 3}" stroke="#c03030"'
                    f' stroke-width="{stroke}"/>'
                )
    return "\n".join([*parts, "</svg>", ""])


def _x(ratio: float) -> float:
    return LABELS + min(ratio, SCALE) / SCALE * (WIDTH - 60 - LABELS)
