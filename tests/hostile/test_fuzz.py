"""Every decoder under a coverage-guided fuzzer, for a thousand inputs; RENDEZVOUS_FUZZ_RUNS=100000 makes it more.

With RENDEZVOUS_FUZZ_SEED=0 each run tries other inputs; without it a commit always gets the same verdict.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.evidence import Evidence
from tests.hostile.targets import MODULES, NAMES, PLANTED, load
from tests.integration.server import ROOT, environment
from tests.required import needs

RUNS = int(os.environ.get("RENDEZVOUS_FUZZ_RUNS", "1000"))
SEED = int(os.environ.get("RENDEZVOUS_FUZZ_SEED", "1"))
PER_RUN = 0.05
"""Seconds that an input may take on a busy machine, on average."""

needs_atheris = needs(
    find_spec("atheris"), "atheris has no wheel for this machine; the extra rendezvous[fuzz] brings it"
)


def fuzz(name: str, runs: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the fuzzer in a process of its own, whose files are all in `folder`."""
    options = [f"-runs={runs}", f"-seed={SEED}", f"-artifact_prefix={folder}/"]
    return subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", name, *options],
        cwd=ROOT,
        env=environment(folder, {"TMPDIR": str(folder), "PYTHONHASHSEED": str(SEED)}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120 + runs * PER_RUN,
        check=False,
    )


@needs_atheris
@pytest.mark.parametrize("name", NAMES)
def test_promises_hold(name: str, tmp_path: Path, evidence: Evidence) -> None:
    """No input breaks what the target promises."""
    done = fuzz(name, RUNS, tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"stat::number_of_executed_units: {RUNS}" in done.stdout
    evidence("No input breaks what a decoder promises", "", **{name: RUNS})


@needs_atheris
def test_a_bug_is_found(tmp_path: Path) -> None:
    """A bug behind four bytes in a row, which chance does not find, is found by following branches, and told."""
    done = fuzz(PLANTED, 200_000, tmp_path)
    assert done.returncode != 0
    assert "the planted bug was found" in done.stdout
    [artifact] = tmp_path.glob("crash-*")
    with pytest.raises(RuntimeError):
        load(PLANTED).run(artifact.read_bytes())


@pytest.mark.parametrize("name", MODULES)
def test_seeds_keep_the_promises(name: str) -> None:
    """The inputs that fuzzing begins with pass, also where there is no fuzzer."""
    target = load(name)
    assert len(set(target.seeds)) == len(target.seeds) > 0
    for seed in target.seeds:
        target.run(seed)


def test_unknown_target(tmp_path: Path) -> None:
    """The runner tells which targets there are."""
    done = fuzz("nonsense", 1, tmp_path)
    assert done.returncode == 1
    assert all(name in done.stdout for name in NAMES)
