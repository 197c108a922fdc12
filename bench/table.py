"""The results for people: a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.results import Result
from bench.row import Aim

HEAD = ("row", "figure", "unit", "limit", "ratio", "bar", "goal", "met", "lost")
LEFT = (0, 2)
"""Columns of text."""


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


def missed_bars(results: Sequence[Result]) -> list[str]:
    """A line for each row that has not reached its bar."""
    return [missed_bar(result, result.row.bar) for result in results if result.meets(result.row.bar) is False]


def missed_bar(result: Result, bar: Aim | None) -> str:
    """What a row has instead of its bar, in as many digits as tell them apart."""
    assert bar is not None
    reached = result.figure if bar.of == "figure" else result.ratio
    if result.lost:
        return f"bar not met: {result.row.name} lost {result.lost}"
    if reached is None:
        return f"bar not met: {result.row.name} has no limit"
    texts = ([plain(value, digits) for value in (reached, bar.value)] for digits in range(3, 18))
    figure, wanted = next(pair for pair in texts if pair[0] != pair[1])
    side, sign = ("above", ">") if result.row.less_is_better else ("below", "<")
    return f"{side} its bar: {result.row.name} {figure} {sign} {wanted}"


def plain(value: float, digits: int) -> str:
    """A number rounded to some digits that count."""
    return f"{float(f'{value:.{digits}g}'):.15g}"
