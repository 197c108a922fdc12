"""How much of everything is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Counts of peers, megabytes through a relay, and seconds."""

    runs: int = 3
    seconds: float = 4.0
    peers: int = 2000
    registrations: int = 20_000
    storm: int = 100_000
    restart: int = 100_000
    memory: int = 100_000
    large_mb: float = 3000
    small_mb: float = 600
    copied_mb: float = 1000
    flood: float = 10.0
    """For which unknown ids come."""
    warm_up: float = 5.0
    """For which a load runs before memory counts, so that what is made once is there."""
    flat: float = 60.0
    """For which it runs then."""
    settle: float = 3.0


QUICK = Plan(
    runs=1,
    seconds=0.4,
    peers=500,
    registrations=1000,
    storm=2000,
    restart=8000,
    memory=1000,
    large_mb=200,
    small_mb=10,
    copied_mb=50,
    flood=0.5,
    warm_up=0.3,
    flat=0.5,
    settle=0.2,
)
"""For function, not for figures."""
