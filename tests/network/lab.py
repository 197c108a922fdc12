"""Network namespaces, the devices between them, and the processes inside; gone when the test is over.

Everything is named after this process. What a killed process has left is removed by the next one's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.integration.server import ROOT, ServerProcess, environment
from tests.network.wire import NETNS, Attachment, Quality

PREFIX = "netlab"
PORT = 21116
SERVER_NUMBER, FIRST_NUMBER = 1, 10
START_TIMEOUT = 60.0


def run(*command: str, text: str = "", check: bool = True) -> str:
    """Run a tool to its end; what it wrote. Its complaint is part of the error."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{text}")
    return done.stdout


def owner(pid: int) -> str:
    """How the names of a process's namespaces begin: with its number and its start, as numbers are used again.

    Empty when there is no such process.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return f"{PREFIX}-{pid}-{fields[19]}"


@cache
def unusable() -> str:
    """Why there can be no laboratory here; empty when there can."""
    if sys.platform != "linux" or os.geteuid():
        return "the network laboratory needs Linux and root"
    missing = [tool for tool in ("ip", "nft", "setpriv") if not shutil.which(tool)]
    if missing:
        return f"the network laboratory needs {', '.join(missing)}"
    if not Path("/dev/net/tun").exists():
        return "the network laboratory needs /dev/net/tun"
    name = f"{owner(os.getpid())}-probe"
    try:
        run("ip", "netns", "add", name)
        run("ip", "netns", "exec", name, "nft", "add", "table", "ip", "nat")
    except RuntimeError as error:
        return f"network namespaces can't be used: {error}"
    finally:
        run("ip", "netns", "del", name, check=False)
    return ""


def remove_namespace(name: str) -> None:
    """Kill what runs in a namespace of the laboratory and delete it; harmless when it has gone."""
    for pid in run("ip", "netns", "pids", name, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


def sweep() -> None:
    """Remove the namespaces of laboratories whose process has gone."""
    for path in NETNS.glob(f"{PREFIX}-*"):
        found = re.match(rf"({PREFIX}-(\d+)-\d+)-", path.name)
        if found and owner(int(found[2])) != found[1]:
            remove_namespace(path.name)


class Peer:
    """A test client in its namespace: requests are lines of JSON, and so are its answers."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        self.hello: Future[dict[str, Any]] = Future()
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            content = json.loads(line)
            answer = self._answers.pop(content["request"]) if "request" in content else self.hello
            answer.set_result(content)
        with self._lock:
            for waiting in (self.hello, *self._answers.values()):
                if not waiting.done():
                    waiting.set_exception(RuntimeError(f"{self.name} has ended"))

    def ask(self, **request: Any) -> Future[dict[str, Any]]:
        """Send a request; its answer."""
        assert self.process.stdin is not None
        with self._lock:
            number = next(self._numbers)
            answer = self._answers[number] = Future()
            self.process.stdin.write(json.dumps({"request": number, **request}) + "\n")
            self.process.stdin.flush()
        return answer

    def end_input(self) -> None:
        """Ask it to end."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def close(self) -> None:
        """End it by the end of its input, or by force."""
        self.end_input()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Lab:
    """The internet with its servers; networks are attached by `tests.network.networks`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespaces: list[str] = []
        self.peers: list[Peer] = []
        self.servers: list[ServerProcess] = []
        self._numbers = count(FIRST_NUMBER)
        self._wire: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        sweep()
        try:
            self._wire = self._popen([sys.executable, "-m", "tests.network.wire"])
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all processes and remove all namespaces; then fail when a server has complained."""
        with contextlib.ExitStack() as stack:
            stack.callback(
                run, "ip", "-force", "-batch", "-", text="".join(f"netns del {name}\n" for name in self.namespaces)
            )
            if self._wire is not None:
                stack.callback(self._wire.wait, 10)
                for pipe in (self._wire.stdin, self._wire.stdout):
                    assert pipe is not None
                    stack.callback(pipe.close)
            for server in self.servers:
                stack.callback(server.stop)
            for peer in self.peers:
                stack.callback(peer.close)
            for peer in self.peers:
                peer.end_input()

    def _popen(self, command: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=ROOT,
            env=environment(self.folder, {"PYTHONPATH": str(ROOT)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    # Namespaces and devices

    def namespace(self, label: str) -> str:
        """A new namespace with nothing but its loopback device."""
        name = f"{owner(os.getpid())}-{len(self.namespaces)}-{re.sub('[^a-z0-9]+', '-', label.lower())}"
        self.namespaces.append(name)
        run("ip", "netns", "add", name)
        settings = ("all.accept_dad=0", "default.accept_dad=0", "all.forwarding=1", "default.forwarding=1")
        self.sysctl(name, "net.ipv4.ip_forward=1", *(f"net.ipv6.conf.{setting}" for setting in settings))
        self.ip(name, "link set lo up")
        return name

    def exec(self, name: str, *command: str, text: str = "") -> str:
        """Run a tool inside a namespace."""
        return run("ip", "netns", "exec", name, *command, text=text)

    def ip(self, name: str, *lines: str) -> None:
        """Several commands of iproute2 inside a namespace."""
        run("ip", "-n", name, "-batch", "-", text="".join(line + "\n" for line in lines))

    def sysctl(self, name: str, *settings: str) -> None:
        """Kernel settings of a namespace; those that this kernel lacks are left out."""
        self.exec(name, "sysctl", "-qew", *settings)

    def rules(self, name: str, ruleset: str) -> None:
        """Load nft rules in a namespace."""
        self.exec(name, "nft", "-f", "-", text=ruleset)

    def number(self) -> int:
        """A number for a new network; its addresses follow from it."""
        return next(self._numbers)

    def attach(
        self,
        name: str,
        number: int,
        *,
        v4: bool,
        v6: bool,
        v6_host: bool = True,
        quality: Quality | None = None,
        more: Sequence[str] = (),
    ) -> None:
        """Connect a namespace to the internet, with the public addresses of the number and more IPv4 ones.

        A gateway has no address of its own in the IPv6 prefix.
        """
        assert self._wire is not None
        assert self._wire.stdin is not None
        assert self._wire.stdout is not None
        quality = quality or Quality()
        addresses = [public_v4(number), *more] if v4 else []
        prefixes = [f"{address}/32" for address in addresses] + ([f"{v6_prefix(number)}/64"] if v6 else [])
        self._wire.stdin.write(Attachment(name, tuple(prefixes), quality).to_line())
        self._wire.stdin.flush()
        if not self._wire.stdout.readline():
            raise RuntimeError("the laboratory's internet has ended")
        lines = [f"link set wan up mtu {quality.mtu}"]
        lines += [f"addr add {address}/32 dev wan" for address in addresses]
        if v4:
            lines += [f"route add default dev wan src {public_v4(number)}"]
        if v6:
            lines += [f"addr add {public_v6(number)}/128 dev wan nodad"] if v6_host else []
            lines += ["route add ::/0 dev wan"]
        self.ip(name, *lines)

    # Processes

    def serve(self, label: str, number: int, *flags: str, part: str = "") -> ServerProcess:
        """Start a real server on a host of its own with both address families."""
        name = self.namespace(label)
        self.attach(name, number, v4=True, v6=True)
        folder = self.folder / name
        folder.mkdir(parents=True)
        server = ServerProcess(folder, part=part, flags=flags, port=PORT, relay_port=PORT + 1)
        inside = ["ip", "netns", "exec", name]
        server.command = ["setpriv", "--pdeathsig", "KILL", *inside, *server.arguments()]
        self.servers.append(server)
        return server.start()

    def peer(self, name: str, role: str, settings: dict[str, object]) -> Peer:
        """Start a test client inside a namespace; role is ``asking`` or ``answering``."""
        inside = ["ip", "netns", "exec", name]
        command = [*inside, sys.executable, "-m", "tests.network.peer", role, json.dumps(settings)]
        peer = Peer(f"{name} {role}", self._popen(command))
        self.peers.append(peer)
        return peer


def public_v4(number: int) -> str:
    """The public IPv4 address of a network."""
    return f"10.77.{number // 250}.{number % 250 + 1}"


def v6_prefix(number: int) -> str:
    """The IPv6 prefix of a network, 64 bits long."""
    return f"fd77:0:0:{number:x}::"


def public_v6(number: int, host: int = 2) -> str:
    """The address of a host in a network's IPv6 prefix."""
    return f"{v6_prefix(number)}{host:x}"
