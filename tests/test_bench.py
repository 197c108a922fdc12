"""The benchmark works: a quick run measures every row and loses nothing. Its figures are not judged here."""

import argparse
import json
import math
import subprocess
import sys
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import busy_loads, report
from bench.chart import COLORS, WIDTH, aimed, chart
from bench.lab import Lab
from bench.memory import memory_aims
from bench.network import Network, Place, network
from bench.peers import fill, rows
from bench.plan import QUICK, Plan
from bench.programs import compiled, compiler
from bench.results import Result
from bench.row import Aim, Row, Sample
from bench.rows import rows as table_rows
from bench.table import HEAD, missed_bars, number, table
from rendezvous.peers.store import prepare
from tests.required import missing

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"
TIMEOUT = 600


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
    """A million peers have a bar and a goal, fewer have none."""
    assert [aim and aim.value for aim in memory_aims(1_000_000)] == [650, 450]
    assert memory_aims(100_000) == (None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.1234, "0.123"), (2.345, "2.35"), (1234.5, "1234"), (12345, "12.35 k"), (2e6, "2000 k")],
)
def test_numbers(value: float | None, text: str) -> None:
    """Short, and without exponents."""
    assert number(value) == text


def test_table() -> None:
    """The columns are aligned, and nothing is judged unless wanted."""
    measured = [result([2.0], [4.0], bar=Aim(0.5), goal=Aim(0.6)), result([2.0], [], less_is_better=True)]
    judged, only_tried = (table(measured, judged=judged).splitlines() for judged in (True, False))
    assert len({len(line) for line in judged}) == 1
    assert len(judged) == 2 + len(measured)
    met = HEAD.index("met") + 1
    assert judged[2].split("|")[met].strip() == "bar"
    assert only_tried[2].split("|")[met].strip() == ""


def test_missed_bars() -> None:
    """Each row below its bar is named with figure and bar in digits that tell them apart; others are not."""
    missed = result([0.1170], [1.0], name="punch", bar=Aim(0.12), goal=Aim(0.22))
    close = result([0.11996], [1.0], name="close", bar=Aim(0.12))
    more = result([700.0], [], name="memory", less_is_better=True, bar=Aim(650.0, "figure"))
    slow = result([39_940.0], [1.0], name="restart", bar=Aim(40_000.0, "figure"))
    met = result([0.5], [1.0], name="online", bar=Aim(0.35), goal=Aim(0.65))
    lossy = result([9.0], [1.0], name="nat", bar=Aim(0.5))
    lossy.server.append(Sample({"key": 9.0}, 2))
    assert missed_bars([missed, close, slow, met, more, lossy, result([1.0], [1.0], name="free")]) == [
        "below its bar: punch 0.117 < 0.12",
        "below its bar: close 0.11996 < 0.12",
        "below its bar: restart 39900 < 40000",
        "above its bar: memory 700 > 650",
        "bar not met: nat lost 2",
    ]


def test_missed_bars_are_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """They are the last lines, unless nothing is judged."""
    found, where = [result([0.117], [1.0], name="punch", bar=Aim(0.12))], nowhere()
    for quick, last in ((False, "below its bar: punch 0.117 < 0.12"), (True, "figures mean nothing.")):
        report(found, where, Plan(), argparse.Namespace(quick=quick, json=None, plot=None))
        assert capsys.readouterr().out.endswith(f"{last}\n")


def nowhere() -> Network:
    """A network that nothing has been measured in."""
    return Network("veth", "", 0, Place(None), Place(None), ())


def written(*results: Result, quick: bool = False) -> dict[str, Any]:
    """What --json writes, with these results."""
    about = {"processor": "p", "processors": 2, "kernel": "k", "python": "3"}
    rows = [result.as_dict() for result in results]
    return {"machine": about, "network": "veth", "notes": [], "quick": quick, "runs": 1, "rows": rows}


def drawn(svg: str, tag: str) -> list[xml.etree.ElementTree.Element]:
    """The elements of one kind in a chart."""
    return [element for element in xml.etree.ElementTree.fromstring(svg).iter() if element.tag.endswith(f"}}{tag}")]


def test_chart() -> None:
    """Each row with a ratio has its bar, colored as it was judged, and marks for what it is to reach."""
    more = result([2.0], [4.0], name="more", title="a < b", bar=Aim(0.5), goal=Aim(3.0, "figure"))
    less = result([6.0], [4.0], name="less", title="less", less_is_better=True, bar=Aim(1.05))
    without = result([6.0], [], name="without", title="without")
    svg = chart(written(more, less, without))
    texts = [element.text for element in drawn(svg, "text")]
    assert [text for text in texts if text in ("a < b", "0.50", "less", "1.50", "without")] == [
        *("a < b", "0.50"),
        *("less", "1.50"),
    ]
    bars = [element for element in drawn(svg, "rect") if element.get("height") == "16.0"]
    assert [element.get("fill") for element in bars] == [COLORS["bar"], COLORS["no"]]
    assert aimed(more.as_dict(), "bar") == 0.5
    assert aimed(more.as_dict(), "goal") == 0.75
    assert aimed(less.as_dict(), "goal") is None
    quick = [element.get("fill") for element in drawn(chart(written(more, less, quick=True)), "rect")]
    assert quick == ["white", COLORS[""], COLORS[""]]


def test_chart_keeps_long_bars_inside() -> None:
    """A ratio far beyond the end of the panel is cut there and told in figures."""
    svg = chart(written(result([100.0], [1.0], title="slow", less_is_better=True)))
    (bar,) = [element for element in drawn(svg, "rect") if element.get("height") == "16.0"]
    assert float(bar.get("x", "0")) + float(bar.get("width", "0")) <= WIDTH
    assert "100.00" in [element.text for element in drawn(svg, "text")]


def run_bench(*arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """``python -m bench``, as it is called."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_plot_of_an_earlier_run(tmp_path: Path) -> None:
    """--read plots what --json has written, and measures nothing."""
    earlier, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    everything = written(result([2.0], [4.0], title="earlier"))
    earlier.write_text(json.dumps(everything), "utf-8")
    done = run_bench("--read", earlier, "--plot", plot)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert plot.read_text("utf-8") == chart(everything)


def test_what_can_not_be_plotted(tmp_path: Path) -> None:
    """One sentence for a file that is none of ours, and for a plot without a name."""
    other, plot = tmp_path / "other.json", tmp_path / "bench.svg"
    other.write_text("[]", "utf-8")
    done = run_bench("--read", other, "--plot", plot)
    assert done.returncode == 1
    assert "can't be plotted" in done.stderr
    assert not plot.exists()
    assert run_bench("--read", other).returncode == 2


def test_figures_without_comparison() -> None:
    """A figure that is not compared with the limit beside it has no ratio; losses of both count all the same."""
    alone = result([2.0], [4.0], compared=False, bar=Aim(2.0, "figure"))
    assert (alone.limit_figure, alone.ratio, alone.meets(alone.row.bar)) == (None, None, True)
    alone.limit.append(Sample({"key": 4.0}, 1))
    assert alone.meets(alone.row.bar) is False


def test_busy_loads() -> None:
    """Rows in which the server has waited for the load are named."""
    free, busy = (result([1.0], [1.0], name=name) for name in ("free", "busy"))
    free.server[0].told["busy"], busy.limit[0].told["busy"] = 0.5, 1.0
    assert busy_loads([free]) == []
    assert busy_loads([free, busy]) == ["The load was busy all the time in busy."]


def test_rows_are_told_apart() -> None:
    """Each row has a name of its own, and a line in the document."""
    names = [row.name for row in table_rows(Plan())]
    assert len(set(names)) == len(names)
    text = DOCUMENT.read_text("utf-8")
    assert [name for name in names if f"`{name}`" not in text] == []
    assert text.count("<!-- table -->") == 2


def test_servers_beside_each_other(tmp_path: Path) -> None:
    """Two relays that are measured in turn, one of which copies, and the limit have ports of their own."""
    if compiler() is None:
        missing("there is no C compiler")
    with network(loopback=False) as where:
        lab = Lab(where, compiled(), tmp_path)
        with lab.server("hbbr") as first, lab.server("hbbr", copying=True) as second, lab.limit() as limit:
            assert len({target.relay_port for target in (first, second, limit)}) == 3


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
        missing("there is no C compiler")
    target, plot = tmp_path / "bench.json", tmp_path / "bench.svg"
    before = set((ROOT / "bench" / "bin").glob("run-*"))
    done = run_bench("--quick", "--json", target, "--plot", plot, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    everything = json.loads(target.read_text("utf-8"))
    assert everything["quick"] is True
    assert everything["runs"] == QUICK.runs
    expected = [row for row in table_rows(QUICK) if not row.full_only]
    assert [row["name"] for row in everything["rows"]] == [row.name for row in expected]
    assert plot.read_text("utf-8") == chart(everything)
    for row in everything["rows"]:
        assert row["lost"] == 0, row
        assert row["figure"] > 0, row
        assert math.isfinite(row["figure"])
        assert row["limit"] is None or row["limit"] > 0, row
        assert len(row["server_samples"]) == 1
        assert row["title"] in done.stdout
    assert sum(row["limit"] is not None for row in everything["rows"]) > 10
    (garbage,) = [row for row in everything["rows"] if row["name"] == "flat-garbage"]
    assert garbage["server_samples"][0]["datagrams"] > 0
    assert set((ROOT / "bench" / "bin").glob("run-*")) <= before
