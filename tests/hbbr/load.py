"""Sessions that send as fast as they may, and what passes in them over driven time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.hbbr.memory import FarEnd
from tests.hbbr.relay_fixture import MemoryRelay

MEGABIT = 1024 * 1024 // 8
"""Bytes of the relay's Mbit."""

Flow = tuple[FarEnd, FarEnd, bytes]
"""Who sends to whom, and the piece that is sent over and over."""


def flow(sender: FarEnd, reader: FarEnd, piece: int = 4096) -> Flow:
    """A flow of raw pieces of `piece` bytes."""
    return sender, reader, bytes(piece)


class Load:
    """Keeps every sender's kernel buffer filled and every reader's empty while time passes."""

    def __init__(self, relay: MemoryRelay, flows: Sequence[Flow], step: float = 0.01) -> None:
        self._relay = relay
        self._flows = flows
        self._step = step
        self.passed: list[Counter[int]] = []

    def run(self, seconds: float) -> Load:
        """Lets time pass; `passed` then has the bytes of each step by the number of the flow."""
        self.passed = []
        for _ in range(round(seconds / self._step)):
            self._fill()
            self._relay.reactor.advance(self._step, self._step)
            self.passed.append(Counter({n: len(flow[1].take()) for n, flow in enumerate(self._flows)}))
            for _, reader, _ in self._flows:
                reader.received.clear()
        return self

    def _fill(self) -> None:
        for sender, _, piece in self._flows:
            inbound = sender.connection.inbound
            while len(inbound) * len(inbound[0] if inbound else b"") < 1 << 20:
                sender.send(piece)

    def total(self) -> float:
        """Bytes a second of all flows together."""
        return sum(sum(step.values()) for step in self.passed) / (len(self.passed) * self._step)

    def rates(self) -> list[float]:
        """Bytes a second of each flow."""
        together: Counter[int] = sum(self.passed, Counter())
        return [together[n] / (len(self.passed) * self._step) for n in range(len(self._flows))]

    def seconds(self) -> list[int]:
        """What passed in any second, in all flows together."""
        width = round(1 / self._step)
        steps = [sum(step.values()) for step in self.passed]
        return [sum(steps[start : start + width]) for start in range(len(steps) - width + 1)]
