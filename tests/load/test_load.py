"""200,000 peers, punches and relay sessions for a minute: nothing is lost and nothing grows.

On a machine that has no time for them it tells only that what was lost was dropped by the kernel, and is skipped.

RENDEZVOUS_LOAD_SECONDS and RENDEZVOUS_LOAD_PEERS make it longer, or smaller.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence import Evidence
from tests.load.running import PEERS, SECONDS, Where, check, check_accounts, run, too_slow


@pytest.mark.slow
def test_crowd_is_served(tmp_path: Path, evidence: Evidence) -> None:
    """Each heartbeat, registration, punch and relayed message is answered; memory and descriptors have no trend."""
    result = run(tmp_path, Where())
    last = result.summary
    print(last)
    check_accounts(last)
    if reason := too_slow(last):
        pytest.skip(reason)
    check(result)
    figure = f"{PEERS} peers for {SECONDS} s: punches p50 {last['p50']:.1f} ms, p99 {last['p99']:.1f} ms"
    answers = last["questions"] - last["unanswered"]
    evidence("A crowd is served, nothing is lost and nothing grows", figure, answers=answers)
