"""Fuzzes one target, guided by the branches that its inputs reach.

``python -m tests.hostile.fuzz TARGET [OPTION...]``; the options are libFuzzer's: ``-runs=N`` (without it,
until interrupted), ``-seed=N``, a folder that new inputs are kept in. A broken promise ends the run with its
traceback, exit code 77, and the input in a file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.hostile.targets import NAMES, PLANTED, Target

LONGEST = 4096
"""Bytes of an input; what is longer than some limit is a matter of single tests."""
LIMITS = (
    f"-max_len={LONGEST}",
    "-len_control=0",
    "-keep_seed=1",
    "-timeout=20",
    "-rss_limit_mb=1024",
    "-print_final_stats=1",
)


def instrumented(name: str, atheris: Any) -> Target:
    """The target, with everything of ours that it imports instrumented."""
    with atheris.instrument_imports(include=["rendezvous", "tests.hostile.targets.planted"]):
        from tests.hostile.targets import load

        return load(name)


def main(arguments: Sequence[str]) -> None:
    """Runs the fuzzer, which ends the process."""
    if not arguments or arguments[0] not in (*NAMES, PLANTED):
        raise SystemExit(f"usage: python -m tests.hostile.fuzz TARGET [OPTION...]\ntargets: {' '.join(NAMES)}")
    atheris = import_module("atheris")
    name, *options = arguments
    target = instrumented(name, atheris)
    seeds = Path(tempfile.mkdtemp(prefix="rendezvous-seeds-"))
    for number, seed in enumerate(target.seeds):
        seeds.joinpath(f"{number:03}").write_bytes(seed)
    kept = [option for option in options if not option.startswith("-")]
    if not kept:
        options.append(tempfile.mkdtemp(prefix="rendezvous-corpus-"))
    atheris.Setup([name, *LIMITS, *options, str(seeds)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
