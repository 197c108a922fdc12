"""What is measured: every row, in the order of the table."""

from __future__ import annotations

from bench.id_server import id_server_rows
from bench.memory import memory_rows
from bench.plan import Plan
from bench.relays import relay_rows
from bench.row import Row


def rows(plan: Plan) -> list[Row]:
    """Every row."""
    return [*id_server_rows(plan), *relay_rows(), *memory_rows(plan)]
