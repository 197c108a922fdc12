"""Tests of rendezvous.wire, most of them against the recorded vectors."""

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text("utf-8"))
"""What clients and servers of the protocol write; bytes are hexadecimal."""
