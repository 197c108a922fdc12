"""The laboratory's internet: one process that passes IP packets between TUN devices, late or not at all.

Run as ``python -m tests.network.wire``. Each line on the input attaches a namespace (see `Attachment`) and
is answered with a line; the process ends with its input.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from ipaddress import ip_network
from pathlib import Path

NETNS = Path("/run/netns")
DEVICE = "wan"
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
LARGEST_PACKET = 65535


@dataclass(frozen=True)
class Quality:
    """How good a line is: seconds of delay, random seconds on top, share lost, largest packet."""

    delay: float = 0.005
    jitter: float = 0.0
    loss: float = 0.0
    mtu: int = 1500

    def __str__(self) -> str:
        jitter = f" and up to {self.jitter * 1000:.0f} more" if self.jitter else ""
        loss = f", {self.loss * 100:.0f} % lost" if self.loss else ""
        return f"{self.delay * 1000:.0f} ms{jitter}{loss}, packets of {self.mtu} bytes"


@dataclass(frozen=True)
class Attachment:
    """A namespace, its line, and the prefixes found there: IPv4 with 32 bits, IPv6 with 64."""

    netns: str
    prefixes: tuple[str, ...]
    quality: Quality = field(default_factory=Quality)

    def to_line(self) -> str:
        """The line of input that attaches it."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Attachment:
        """The opposite of `to_line`."""
        content = json.loads(line)
        return cls(content["netns"], tuple(content["prefixes"]), Quality(**content["quality"]))


def enter(netns: str) -> None:
    """Move the calling thread into another namespace."""
    namespace = os.open(NETNS / netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"can't enter {netns}")
    finally:
        os.close(namespace)


def open_tun(netns: str) -> int:
    """A TUN device in another namespace; this process stays there."""
    enter(netns)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return device


def route_key(packet: bytes) -> bytes:
    """What the destination is looked up by: four octets of IPv4, the first eight of IPv6."""
    return packet[16:20] if packet[0] >> 4 == 4 else packet[24:32]


class Internet:
    """All attached lines and the packets on their way."""

    def __init__(self) -> None:
        self._poller = select.epoll()
        self._lines: dict[int, Quality] = {}
        self._routes: dict[bytes, int] = {}
        self._due: list[tuple[float, int, int, bytes]] = []
        self._count = 0
        self._random = random.Random(1)

    def attach(self, attachment: Attachment) -> None:
        """Make the device and take packets from it."""
        device = open_tun(attachment.netns)
        self._lines[device] = attachment.quality
        for prefix in attachment.prefixes:
            network = ip_network(prefix)
            self._routes[network.network_address.packed[: 4 if network.version == 4 else 8]] = device
        self._poller.register(device, select.EPOLLIN)

    def run(self, commands: int) -> None:
        """Pass packets and take commands until there are no more."""
        self._poller.register(commands, select.EPOLLIN)
        buffer = b""
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1
            for ready, _ in self._poller.poll(wait):
                if ready != commands:
                    self._take(ready)
                    continue
                data = os.read(commands, 1 << 16)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self.attach(Attachment.from_line(line.decode()))
                    print("attached", flush=True)
            self._deliver()

    def _take(self, device: int) -> None:
        source = self._lines[device]
        for _ in range(64):
            try:
                packet = os.read(device, LARGEST_PACKET)
            except BlockingIOError:
                return
            target = self._routes.get(route_key(packet))
            if target is None:
                continue
            quality = self._lines[target]
            if len(packet) > min(source.mtu, quality.mtu):
                continue
            if self._random.random() < source.loss or self._random.random() < quality.loss:
                continue
            late = source.delay + quality.delay + self._random.uniform(0, source.jitter + quality.jitter)
            self._count += 1
            heapq.heappush(self._due, (time.monotonic() + late, self._count, target, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, target, packet = heapq.heappop(self._due)
            try:
                os.write(target, packet)
            except OSError:  # a full queue or a namespace that has gone loses packets, as a network does
                continue


if __name__ == "__main__":
    Internet().run(sys.stdin.fileno())
