"""Real `twistd` processes: started on free ports, waited for, watched and stopped."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.client.links import Server

ROOT = Path(__file__).parents[2]
START_TIMEOUT = 40.0
STOP_TIMEOUT = 15.0
FIRST_PORT, LAST_PORT, BLOCK = 20_000, 32_000, 8
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or "0")

_blocks = count(os.getpid() % 97 * 2)


def twistd() -> list[str]:
    """The command line of the twistd that belongs to this Python."""
    beside = Path(sys.executable).with_name("twistd")
    found = str(beside) if beside.exists() else shutil.which("twistd")
    assert found, "there is no twistd"
    return [found]


def environment(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment without anything that could be a setting."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    kept |= {"HOME": str(home), "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    return kept | dict(extra or {})


def _free(port: int, kind: socket.SocketKind, family: socket.AddressFamily) -> bool:
    with socket.socket(family, kind) as probe:
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("::" if family is socket.AF_INET6 else "0.0.0.0", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port P of which P-1 to P+6 are free, in a range of this worker's own."""
    span = (LAST_PORT - FIRST_PORT) // 8
    for _ in range(span // BLOCK):
        start = FIRST_PORT + WORKER % 8 * span + next(_blocks) % (span // BLOCK) * BLOCK
        if all(
            _free(port, kind, family)
            for port in range(start, start + BLOCK)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            for family in (socket.AF_INET, socket.AF_INET6)
        ):
            return start + 1
    raise RuntimeError("no free range of ports")


@dataclass
class ServerProcess:
    """One process; `flags` follow the sub-command, and the ports are given unless told not to.

    Unless told otherwise it stops at once, whatever clients a test leaves behind.
    `part` is empty for both servers in one process, `hbbs` or `hbbr` for one of them. `program` stands for twistd.
    """

    folder: Path
    part: str = ""
    flags: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    relay_port: int = 0
    key: str | None = None
    command: Sequence[str] | None = None
    program: Sequence[str] = ()
    process: subprocess.Popen[str] | None = None
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self._changed = threading.Condition()
        self._checked = 0
        self._reader: threading.Thread | None = None

    @property
    def data(self) -> Path:
        """The folder with key pair and database."""
        return self.folder / "data"

    def arguments(self) -> list[str]:
        """The whole command line."""
        if self.command is not None:
            return list(self.command)
        line = [*(self.program or twistd()), "-n", "--pidfile=", "rendezvous"]
        line += [self.part] if self.part else []
        port = self.relay_port or self.port + 1 if self.part == "hbbr" else self.port
        line += ["--data", str(self.data), "-p", str(port)]
        if self.relay_port and not self.part:
            line += ["--relay-port", str(self.relay_port)]
        return line + list(self.flags)

    def start(self) -> ServerProcess:
        """Start, and return when the server says that it is ready."""
        self.launch()
        self.wait_line("ready", START_TIMEOUT)
        return self

    def launch(self) -> None:
        """Start without waiting."""
        assert self.process is None
        self.data.mkdir(parents=True, exist_ok=True)
        self.lines, self._checked = [], 0
        self.process = subprocess.Popen(
            self.arguments(),
            cwd=self.folder,
            env=environment(self.folder, {"STOP_TIMEOUT": "0", **self.env}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        process = self.process
        self._reader = threading.Thread(target=lambda: self._read(process), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_line(self, text: str, timeout: float = 30.0) -> str:
        """The first line of the output that contains the text, in any case of letters."""

        def find() -> str | None:
            return next((line for line in self.lines if text.lower() in line.lower()), None)

        def settled() -> bool:
            ended = self._reader is None or not self._reader.is_alive()  # all that was written has been read then
            return find() is not None or ended

        deadline = time.monotonic() + timeout
        with self._changed:
            while not settled() and time.monotonic() < deadline:
                self._changed.wait(0.2)
            found = find()
        assert found is not None, f"no line with {text!r} in:\n{self.output}"
        return found

    @property
    def output(self) -> str:
        """Everything that the process has written."""
        return "\n".join(self.lines)

    def check(self) -> None:
        """Fail when an exception has reached the log since the last check."""
        new = "\n".join(self.lines[self._checked :])
        self._checked = len(self.lines)
        for word in ("Traceback", "Unhandled"):
            assert word not in new, new

    def stop(self) -> None:
        """End by SIGTERM as an administrator does; it must be quick and clean."""
        if self.process is None:
            return
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(STOP_TIMEOUT)
        finally:
            self.kill()
        self.check()

    def kill(self) -> None:
        """End by SIGKILL; harmless when it has ended."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self._reader is not None:
            self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def restart(self, sign: Callable[[], None] | None = None) -> None:
        """Stop and start again with the same data and ports; `sign` runs in between."""
        self.stop()
        if sign is not None:
            sign()
        self.start()

    def view(self, host: str = "127.0.0.1") -> Server:
        """What a client of this server is told: address, ports and public key."""
        path = self.data / "id_ed25519.pub"
        text = path.read_text(encoding="ascii").strip() if path.exists() else ""
        key = text if self.key is None else self.key
        return Server(host, self.port, self.relay_port, key, base64.b64decode(text))


@dataclass(frozen=True)
class Ended:
    """A process that has ended by itself."""

    code: int
    output: str

    @property
    def statements(self) -> list[str]:
        """The lines that were written for a person: no log lines, no empty ones."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return [line for line in lines if not line[:4].isdigit()]


def run_to_end(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, timeout: float = 40.0
) -> Ended:
    """Run a command that is expected to end; killed, and TimeoutExpired, when it doesn't."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return Ended(done.returncode, done.stdout)
