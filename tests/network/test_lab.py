"""What the laboratory makes is gone afterwards, also when its process was killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.server import ROOT, environment
from tests.network.lab import PREFIX, Lab, sweep
from tests.network.wire import NETNS

VICTIM = """
import pathlib, sys
from tests.network.lab import Lab
with Lab(pathlib.Path(sys.argv[1])) as lab:
    print(lab.serve("victim", 9, "-k", "-").process.pid, flush=True)
    sys.stdin.read()
"""


def left_of(pid: int) -> list[Path]:
    """The namespaces of the laboratory of a process."""
    return list(NETNS.glob(f"{PREFIX}-{pid}-*"))


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_is_left(tmp_path: Path, killed: bool) -> None:
    """Namespaces are removed at the end, or by the next laboratory; the processes inside have ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path)],
        cwd=ROOT,
        env=environment(tmp_path, {"PYTHONPATH": str(ROOT)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = int(process.stdout.readline())
        ended = os.pidfd_open(server)
        assert left_of(process.pid)
        if killed:
            process.send_signal(signal.SIGKILL)
        process.stdin.close()
        process.wait(30)
    if killed:
        sweep()
    assert not left_of(process.pid)
    assert select.select([ended], [], [], 10)[0], "the server is still running"
    os.close(ended)


def test_namespaces_of_the_living_stay(lab: Lab) -> None:
    """A sweep leaves alone what belongs to a running process."""
    name = lab.namespace("living")
    sweep()
    assert (NETNS / name).exists()
