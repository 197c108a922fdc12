"""Killed at any moment: what was acknowledged is in the database, and the next start is clean."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from tests.evidence import Evidence
from tests.faults.conftest import Serve, assert_calm
from tests.faults.databases import NAME, assert_stored
from tests.faults.shim import Shim
from tests.faults.storm import OK, Storm
from tests.integration.server import ServerProcess

RUNS = int(os.environ.get("RENDEZVOUS_FAULT_RUNS", "8"))
"""How often a server is killed in all."""
_TOGETHER = 4
"""How often in the same folder."""
PROMISE = "An acknowledged registration outlives a kill of the process at any moment"


def killed_at_a_moment(server: ServerProcess, shim: Shim, dice: random.Random) -> Storm:
    """A storm, and a kill from outside in the middle of it."""
    storm = Storm(server.view())
    end = time.monotonic() + dice.uniform(0.02, 0.6)

    def over() -> bool:
        if time.monotonic() < end:
            return False
        server.kill()
        return True

    storm.run(over)
    return storm


def killed_at_a_change(server: ServerProcess, shim: Shim, dice: random.Random) -> Storm:
    """A storm, and a kill just before one of the server's changes of its database files."""
    storm = Storm(server.view())
    process = server.process
    assert process is not None
    shim.script(die=dice.randrange(1, 300))
    storm.run(lambda: process.poll() is not None)
    return storm


def killed_at_the_end(server: ServerProcess, shim: Shim, dice: random.Random) -> Storm:
    """A storm, then a stop as administrators do it, during which the log is written into the database."""
    storm = Storm(server.view())
    process = server.process
    assert process is not None
    end = time.monotonic() + 0.2
    storm.run(lambda: time.monotonic() > end)
    shim.script(die=dice.randrange(1, 25))
    process.send_signal(signal.SIGTERM)
    process.wait(15)
    return storm


WAYS = (killed_at_a_moment, killed_at_a_change, killed_at_a_moment, killed_at_the_end)


@pytest.mark.parametrize("folder", range(-(-RUNS // _TOGETHER)))
def test_killed(serve: Serve, shim: Shim, evidence: Evidence, folder: int) -> None:
    """After each of several kills the database has every registration that was ever acknowledged."""
    dice = random.Random(folder)
    acknowledged = []
    kills = min(_TOGETHER, RUNS - folder * _TOGETHER)
    server = serve()
    for way in WAYS[:kills]:
        storm = way(server, shim, dice)
        assert_calm(server) if way is not killed_at_the_end else server.check()
        server.kill()
        shim.clear()
        acknowledged += storm.having(OK)
        assert set(storm.results.values()) <= {OK}
        assert_stored(server.data, acknowledged)
        server.start()
    assert len(acknowledged) > 10 * kills
    evidence(PROMISE, kills=kills, registrations=len(acknowledged))


def test_killed_while_it_starts(serve: Serve, shim: Shim, evidence: Evidence) -> None:
    """Killed during its first starts, it starts at last with a sound key and database."""
    dice = random.Random(RUNS)
    server = serve(ready=False)
    kills = max(2, RUNS // 2)
    for _ in range(kills):
        server.launch()
        assert server.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(dice.uniform(0.2, 0.7))
        server.check()
        server.kill()
    server.start()
    assert (server.data / NAME).stat().st_size > 0
    evidence("A start that is killed does not prevent the next one", kills=kills)
