"""The benchmark works: a quick run measures every row and loses nothing. Its figures are not judged here."""

import json
import math
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.peers import fill, rows
from bench.programs import compiler
from bench.results import Result
from bench.rows import FULL, QUICK, Aim, Row, Sample, memory_aim
from bench.rows import rows as table_rows
from bench.table import HEAD, chart, number, table
from rendezvous.peers.store import prepare

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
TIMEOUT = 240


def result(server: list[float], limit: list[float], **row: Any) -> Result:
    """The result of a row with these figures."""
    made = Row("name", "a < b", "unit", "key", lambda lab, plan: pytest.fail("nothing is to be measured"))
    return Result(
        replace(made, **row),
        [Sample({"key": figure}, 0) for figure in server],
        [Sample({"key": figure}, 0) for figure in limit],
    )


def test_medians_and_ratio() -> None:
    """The medians count, and the ratio is the one of the medians."""
    measured = result([1.0, 9.0, 2.0], [4.0, 5.0, 1.0])
    assert (measured.figure, measured.limit_figure, measured.ratio) == (2.0, 4.0, 0.5)
    assert result([1.0], []).ratio is None


@pytest.mark.parametrize(
    ("aim", "less_is_better", "reached"),
    [
        (None, False, None),
        (Aim(0.5), False, True),
        (Aim(0.51), False, False),
        (Aim(2.0, "figure"), False, True),
        (Aim(2.1, "figure"), False, False),
        (Aim(2.0, "figure"), True, True),
        (Aim(1.9, "figure"), True, False),
    ],
)
def test_aims(aim: Aim | None, less_is_better: bool, reached: bool | None) -> None:
    """An aim is for the ratio or for the figure; what is exactly reached is reached."""
    assert result([2.0], [4.0], less_is_better=less_is_better).meets(aim) is reached


def test_losses_meet_nothing() -> None:
    """A fast server that loses something has reached nothing."""
    fast = result([9.0], [1.0])
    fast.server.append(Sample({"key": 9.0}, 1))
    assert fast.meets(Aim(0.5)) is False


def test_memory_aims() -> None:
    """Allowed memory grows evenly from idle to a million peers."""
    assert memory_aim(90, 650, 0).value == 90
    assert memory_aim(90, 650, 100_000).value == 146
    assert memory_aim(90, 650, 1_000_000).value == 650


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.1234, "0.123"), (2.345, "2.35"), (1234.5, "1234"), (12345, "12.35 k"), (2e6, "2000 k")],
)
def test_numbers(value: float | None, text: str) -> None:
    """Short, and without exponents."""
    assert number(value) == text


def test_table_and_chart() -> None:
    """The columns are aligned, nothing is judged unless wanted, and the chart is well-formed."""
    measured = [result([2.0], [4.0], bar=Aim(0.5), goal=Aim(0.6)), result([2.0], [], less_is_better=True)]
    judged, only_tried = (table(measured, judged=judged).splitlines() for judged in (True, False))
    assert len({len(line) for line in judged}) == 1
    assert len(judged) == 2 + len(measured)
    met = HEAD.index("met") + 1
    assert judged[2].split("|")[met].strip() == "bar"
    assert only_tried[2].split("|")[met].strip() == ""
    svg = xml.etree.ElementTree.fromstring(chart(measured))
    texts = [element.text for element in svg.iter() if element.tag.endswith("text")]
    assert texts[1:] == ["a < b", "0.50"]


def test_rows_are_told_apart() -> None:
    """Each row has a name of its own, and a line in the document."""
    names = [row.name for row in table_rows(FULL)]
    assert len(set(names)) == len(names)
    text = DOCUMENT.read_text("utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []
    assert text.count("<!-- table -->") == 2


def test_known_peers(tmp_path: Path) -> None:
    """Peers that are put into the database are peers to the server's store."""
    path = tmp_path / "db.sqlite3"
    fill(path, 300, 10)
    assert prepare(path).peers == 300
    (row,) = rows(256, 257, 10)
    assert row == (
        "100000256",
        b"\0\1\0\0" + b"\x11" * 12,
        b"\0\1\0\0" + b"\x22" * 28,
        '{"ip": "::ffff:10.16.1.0"}',
    )


def test_ratios_need_a_limit() -> None:
    """What is to be a part of the limit is not reached where there is none."""
    assert result([9.0], []).meets(Aim(0.5)) is False


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    """Every row is measured and positive, nothing is lost, and nothing is left behind."""
    if compiler() is None:
        pytest.skip("there is no C compiler")
    target, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    before = set((ROOT / "bench" / "bin").glob("run-*"))
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--json", target, "--plot", plot],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(target.read_text("utf-8"))
    assert written["quick"] is True
    assert written["runs"] == QUICK.runs
    expected = [row for row in table_rows(QUICK) if not row.full_only]
    assert [row["name"] for row in written["rows"]] == [row.name for row in expected]
    for row in written["rows"]:
        assert row["lost"] == 0, row
        assert row["figure"] > 0, row
        assert math.isfinite(row["figure"])
        assert row["limit"] is None or row["limit"] > 0, row
        assert len(row["server_samples"]) == 1
        assert row["title"] in done.stdout
    assert sum(row["limit"] is not None for row in written["rows"]) > 10
    xml.etree.ElementTree.parse(plot)
    assert set((ROOT / "bench" / "bin").glob("run-*")) <= before
