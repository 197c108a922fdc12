"""The expected ways as docs/protocol.md has them: ``python -m tests.network.document`` writes them there."""

from __future__ import annotations

from collections.abc import Sequence

from tests.integration.server import ROOT
from tests.network.matrix import COLUMNS, ROWS, WAYS
from tests.network.shared import SHARED

DOCUMENT = ROOT / "docs" / "protocol.md"
MARK = "<!-- ways -->\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A markdown table; the first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ways() -> str:
    """The expected ways between two networks, and between two clients that share a public address."""
    matrix = [["A \\ B", *COLUMNS]]
    matrix += [[f"**{asking}**", *(" ".join(cell) for cell in row.split())] for asking, row in ROWS.items()]
    names = list(WAYS.values())
    common = [["both", "ways"]]
    common += [[name, ", ".join(sorted(shared.ways, key=names.index))] for name, shared in SHARED.items()]
    return f"\n{table(matrix)}\n\n{table(common)}\n\n"


def documented() -> str:
    """What stands between the marks."""
    return DOCUMENT.read_text("utf-8").split(MARK)[1]


def main() -> None:
    """Bring the document up to date."""
    before, _, after = DOCUMENT.read_text("utf-8").split(MARK)
    DOCUMENT.write_text(MARK.join([before, ways(), after]), "utf-8")


if __name__ == "__main__":
    main()
