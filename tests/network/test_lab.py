"""What the laboratory makes is gone afterwards, also when its process was killed."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.server import ROOT, environment
from tests.network.lab import PREFIX, Lab, run, sweep
from tests.network.wire import NETNS

VICTIM = """
import pathlib, sys
from tests.network.lab import Lab
from tests.network.meetings import Meetings
with Lab(pathlib.Path(sys.argv[1])) as lab:
    meetings = Meetings(lab)
    client = meetings.answering("port restricted")
    client.hello.result(60)
    print(meetings.server.process.pid, client.process.pid, lab._wire.pid, flush=True)
    sys.stdin.read()
"""


def left_of(pid: int) -> list[Path]:
    """The namespaces of the laboratory of a process."""
    return list(NETNS.glob(f"{PREFIX}-{pid}-*"))


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_is_left(tmp_path: Path, killed: bool) -> None:
    """Server, client and wire end with the laboratory; its namespaces go then, or when the next one starts."""
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path)],
        cwd=ROOT,
        env=environment(tmp_path, {"PYTHONPATH": str(ROOT)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, ExitStack() as stack:
        assert process.stdin is not None
        assert process.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        for child in children:
            stack.callback(os.close, child)
        assert len(children) == 3
        assert left_of(process.pid)
        if killed:
            process.send_signal(signal.SIGKILL)
        process.stdin.close()
        process.wait(30)
        for child in children:
            assert select.select([child], [], [], 10)[0], "a process is still running"
    if killed:
        assert left_of(process.pid)
        with Lab(tmp_path / "next"):
            pass
    assert not left_of(process.pid)


def test_sweep_tells_processes_with_the_same_number_apart(lab: Lab) -> None:
    """What a process has left is removed although another one has its number now."""
    left = f"{PREFIX}-{os.getpid()}-1-left"
    run("ip", "netns", "add", left)
    sweep()
    assert not (NETNS / left).exists()


def test_namespaces_of_the_living_stay(lab: Lab) -> None:
    """A sweep leaves alone what belongs to a running process."""
    name = lab.namespace("living")
    sweep()
    assert (NETNS / name).exists()
