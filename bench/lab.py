"""Servers, limits and loads as processes, each where it belongs, and none of them left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.network import Network, Place
from bench.programs import BINARIES, BenchError, Programs
from bench.usage import Usage
from rendezvous.self_signed import self_signed

SERVER_PORT, COPYING_PORT, LIMIT_PORT = 21116, 26116, 31116
START_TIMEOUT, STOP_TIMEOUT, LOAD_TIMEOUT = 120.0, 60.0, 1200.0
READY = re.compile(r"\bready\b", re.IGNORECASE)
UNLIMITED = {"SINGLE_BANDWIDTH": "100000", "TOTAL_BANDWIDTH": "100000"}
OTHERS_NICE = 19
ROOT = Path(__file__).parents[1]
COPYING = (sys.executable, "-c", "import os; del os.splice; from twisted.scripts.twistd import run; run()")
"""twistd on a system that can't splice."""


@dataclass(frozen=True)
class Target:
    """A process to be loaded, its main port, and its relay port."""

    pid: int
    port: int
    relay_port: int

    @property
    def resident_mib(self) -> float:
        """Memory that it holds."""
        return Usage.of(self.pid).resident_mib


@dataclass(frozen=True)
class Lab:
    """Starts everything; what is started in a `with` statement ends with it."""

    network: Network
    programs: Programs
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def data(self) -> Path:
        """A new, empty data folder; removed with the laboratory."""
        made = self.folder / f"data{next(self._numbers)}"
        made.mkdir()
        return made

    @contextmanager
    def server(
        self, part: str = "hbbs", data: Path | None = None, *, copying: bool = False, tls: bool = False
    ) -> Iterator[Target]:
        """A server that is ready; `part` is empty for both servers in one process.

        One that is `copying` can't splice; with `tls` it has a certificate of its own.
        """
        folder = data or self.data()
        port = self._free_port(COPYING_PORT if copying else SERVER_PORT)
        relay_port = port + 1
        command = [*(COPYING if copying else twistd()), "-n", "--pidfile=", "rendezvous", *([part] if part else [])]
        command += ["--data", str(folder), "--port", str(relay_port if part == "hbbr" else port)]
        command += ["--consoles", "no", "--key", "", "--stop-timeout", "0"]
        if tls:
            pair = self_signed([self.network.host], days=1)
            for name, content in zip(("certificate", "private-key"), pair, strict=True):
                (folder / f"{name}.pem").write_bytes(content)
                command += [f"--{name}", f"{name}.pem"]
        with self._ready(command, folder, UNLIMITED) as pid:
            yield Target(pid, port, relay_port)

    @contextmanager
    def limit(self) -> Iterator[Target]:
        """The C program that answers without looking."""
        port = self._free_port(LIMIT_PORT)
        command = [str(self.programs.limit), str(port)]
        with self._ready(command, self.data(), {}) as pid:
            yield Target(pid, port, port + 1)

    def _free_port(self, first: int) -> int:
        """A main port with free neighbors; between namespaces nobody else is there than the laboratory."""
        if self.network.kind != "loopback":
            return first
        return next(port for port in range(first, first + 1000, 10) if all(map(is_free, range(port - 1, port + 4))))

    @contextmanager
    def _ready(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[int]:
        output = self.folder / f"{folder.name}.log"
        with output.open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=clean_environment(folder) | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self.network.server.enter,
            )
        try:
            wait_until(lambda: process.poll() is not None or READY.search(output.read_text()) is not None)
            if process.poll() is not None:
                raise BenchError(f"{Path(command[0]).name} can't start:\n{output.read_text()[-2000:]}")
            yield process.pid
            if process.poll() is not None:
                raise BenchError(f"{Path(command[0]).name} has died:\n{output.read_text()[-2000:]}")
        finally:
            end(process)

    def arguments(self, name: str, target: Target, **options: str | float) -> list[str]:
        """The command line of a load."""
        port = target.relay_port if name in ("relay", "ping") else target.port
        command = [str(self.programs.load), name, "-h", self.network.host, "-P", str(port), "-p", str(target.pid)]
        command += ["-s", str(self.network.sources)]
        for option, value in options.items():
            command += [f"-{option}", str(value)]
        return command

    def load(self, name: str, target: Target, **options: str | float) -> dict[str, Any]:
        """Run a load to its end; the options are those of load.c."""
        return self._result(self.arguments(name, target, **options), self.network.load)

    @contextmanager
    def beside(self, name: str, target: Target, **options: str | float) -> Iterator[subprocess.Popen[str]]:
        """A load that goes on meanwhile; a `beat` begins before this returns."""
        process = subprocess.Popen(
            self.arguments(name, target, **options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=self.network.load.enter,
        )
        try:
            if name == "beat":
                assert process.stdout is not None
                if process.stdout.readline() != "ready\n":
                    raise BenchError("The load can't begin.")
            yield process
        finally:
            end(process)
            if process.stdout is not None:
                process.stdout.close()

    def run(self, place: Place, module: str, *arguments: object) -> dict[str, Any]:
        """Run a module of the benchmark where the server would be, or where the load is."""
        return self._result([sys.executable, "-m", module, *map(str, arguments)], place)

    @staticmethod
    def _result(command: Sequence[str], place: Place) -> dict[str, Any]:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LOAD_TIMEOUT,
            preexec_fn=place.enter,
            check=False,
        )
        return read_result(done.stdout, done.stderr)


def read_result(output: str, errors: str = "") -> dict[str, Any]:
    """The JSON in the last line of what a load has printed."""
    try:
        result = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        raise BenchError(f"A load has failed: {errors.strip() or output.strip() or 'no result'}.") from None
    assert isinstance(result, dict)
    return result


def give_way(process: subprocess.Popen[str]) -> None:
    """Let other loads on the same processor go first."""
    os.setpriority(os.PRIO_PROCESS, process.pid, OTHERS_NICE)


def stop(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Ask a load to end, and take its result."""
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=STOP_TIMEOUT)
    return read_result(output)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process, by force when it takes its time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds."""
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"Waited {START_TIMEOUT:.0f} s for a server to start.")
        time.sleep(0.02)


def is_free(port: int) -> bool:
    """Whether nobody has a port, TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True


def twistd() -> list[str]:
    """The twistd that belongs to this Python."""
    beside = Path(sys.executable).with_name("twistd")
    found = str(beside) if beside.exists() else shutil.which("twistd")
    if found is None:
        raise BenchError("There is no twistd; install the package.")
    return [found]


def clean_environment(home: Path) -> dict[str, str]:
    """An environment without anything that could be a setting."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return kept | {"HOME": str(home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for databases and logs, on the disk of this checkout; removed afterwards, or by the next run."""
    BINARIES.mkdir(exist_ok=True)
    for left in BINARIES.glob("run-*"):
        if not Path("/proc", left.name.removeprefix("run-")).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = BINARIES / f"run-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
