"""What a process uses, by the system's own accounting."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path

_ALL_THREADS = 2
"""The kernel's CPUCLOCK_SCHED, of a process; ticks would be too coarse for a moment's load."""


def cpu_clock(pid: int) -> int:
    """The clock of a process's CPU time, as clock_getcpuclockid(3) makes it on Linux."""
    return ~pid << 3 | _ALL_THREADS


@dataclass(frozen=True)
class Usage:
    """What a process has used."""

    resident: int
    cpu: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Bytes in memory now, and seconds of CPU time since the process began."""
        pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
        return cls(pages * resource.getpagesize(), time.clock_gettime(cpu_clock(pid)))

    @property
    def resident_mib(self) -> float:
        """The memory in MiB."""
        return self.resident / 2**20
