"""The crowd's peers: one UDP socket that speaks from every peer's own address."""

from __future__ import annotations

import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from bench.peers import FIRST_ID, FIRST_NET, rows
from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.wire import Address
from tests.load.waiting import Waiting

HEARTBEAT_PATIENCE = 10.0
"""Seconds after which a heartbeat is lost; the next one of the peer follows after 15."""
PAUSES = (3.0, 3.0, 3.0)
"""Seconds after each of which a client sends its registration again that was not answered."""
REGISTRATION_PATIENCE = 18.0
INTERVAL, SLOT = 15.0, 0.01
"""Seconds between two heartbeats of a peer, and the steps in which all of them are spread over that time."""
SLOTS = round(INTERVAL / SLOT)
IP_PKTINFO = 8
SO_RCVBUFFORCE = 33
SO_MEMINFO = 55
"""Nine numbers of 32 bits, of which the last one counts datagrams for which there was no room."""
BUFFER = 64 << 20
AT_ONCE = 400
"""Datagrams read before something else gets its turn."""
STILL_THERE = pb.RendezvousMessage(register_peer_response=pb.RegisterPeerResponse()).SerializeToString()
REGISTERED = pb.RendezvousMessage(register_pk_response=pb.RegisterPkResponse()).SerializeToString()

Pushed = Callable[[str, str, pb.PunchHole], None]


class Peers:
    """`count` peers that the server's database has as `bench.peers` puts them there, and new ones behind them."""

    def __init__(self, server: Address, octet: int, count: int, pushed: Pushed) -> None:
        self.heartbeats = Waiting(HEARTBEAT_PATIENCE)
        self.registrations = Waiting(REGISTRATION_PATIENCE, PAUSES)
        self.questions = self.answers = 0
        """Datagrams sent and received, whenever they came; pushes are neither."""
        self.unexpected = 0
        """Datagrams that answer nothing and ask for nothing."""
        self._server = server
        self._octet = octet
        self._first = int(IPv4Address(f"{octet}.{FIRST_NET}.0.0"))
        self._pushed = pushed
        self._hello = [self._heartbeat(i) for i in range(count)]
        self._online = bytearray(count)
        self._slots = [list(range(i, count, SLOTS)) for i in range(SLOTS)]
        self._slot_of: dict[int, int] = {}
        """Where a peer belongs that is about to register."""
        self._silent: set[int] = set()
        self._repeated: set[int] = set()
        """Peers that have registered again, and so may be answered twice."""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.socket.bind(("0.0.0.0", 0))

    @staticmethod
    def _heartbeat(number: int) -> bytes:
        peer = pb.RegisterPeer(id=str(FIRST_ID + number))
        return pb.RendezvousMessage(register_peer=peer).SerializeToString()

    @property
    def online(self) -> int:
        """How many have been answered and go on."""
        return sum(self._online)

    def address(self, number: int) -> str:
        """A peer's own address."""
        return str(IPv4Address(self._first + number))

    def somebody(self) -> int | None:
        """A random peer that is online, None when there are few."""
        for _ in range(20):
            number = random.randrange(len(self._hello))
            if self._online[number]:
                return number
        return None

    def beat(self, slot: int) -> None:
        """All heartbeats of one slot, but for peers whose first one, after their registration, is under way."""
        now = time.monotonic()
        for number in self._slots[slot]:
            if number in self.heartbeats:
                continue
            self.heartbeats.ask(number, now)
            self._send(number, self._hello[number])

    def replace(self) -> None:
        """One peer goes silent, and a new one registers, which takes its turn once it has."""
        slot = random.randrange(SLOTS)
        place = random.randrange(len(self._slots[slot]) or 1)
        if place < len(self._slots[slot]):
            silent = self._slots[slot].pop(place)
            self._silent.add(silent)
            self._online[silent] = 0
        number = len(self._hello)
        self._hello.append(self._heartbeat(number))
        self._online.append(0)
        self._slot_of[number] = slot
        self.registrations.ask(number, time.monotonic())
        self._register(number)

    def repeat(self, now: float) -> None:
        """New peers whose registration was not answered send it again."""
        for number in self.registrations.due(now):
            assert isinstance(number, int)
            self._repeated.add(number)
            self._register(number)

    def _register(self, number: int) -> None:
        name, machine, key, _ = next(rows(number, number + 1, self._octet))
        message = pb.RendezvousMessage(register_pk=pb.RegisterPk(id=name, uuid=machine, pk=key))
        self._send(number, message.SerializeToString())

    def _send(self, number: int, data: bytes) -> None:
        self.questions += 1
        source = struct.pack("=I", 0) + (self._first + number).to_bytes(4, "big") + bytes(4)
        self.socket.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, source)], 0, self._server)

    @property
    def dropped(self) -> int:
        """Datagrams for which the kernel had no room, as this process did not take those before."""
        return int.from_bytes(self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36)[32:], sys.byteorder)

    def receive(self) -> bool:
        """Take what has come, and whether that was all; the address that it came to tells whose it is."""
        now = time.monotonic()
        for _ in range(AT_ONCE):
            try:
                data, control, _, _ = self.socket.recvmsg(2048, 64)
            except BlockingIOError:
                return True
            number = int.from_bytes(control[0][2][8:12], "big") - self._first
            if data == STILL_THERE:
                self.answers += 1
                if self.heartbeats.answer(number, now) and number not in self._silent:
                    self._online[number] = 1
            else:
                self._other(number, data, now)
        return False

    def _other(self, number: int, data: bytes, now: float) -> None:
        message = pb.RendezvousMessage.FromString(data)
        if message.HasField("punch_hole"):
            self._pushed(self.address(number), str(FIRST_ID + number), message.punch_hole)
            return
        self.answers += 1
        if data == REGISTERED and number in self._repeated and number not in self.registrations:
            return  # to what it had sent before
        if data == REGISTERED and self.registrations.answer(number, now):
            self._slots[self._slot_of.pop(number)].append(number)
            self.heartbeats.ask(number, now)
            self._send(number, self._hello[number])
        else:
            self.unexpected += 1
            (self.registrations if message.HasField("register_pk_response") else self.heartbeats).wrong(number)

    def expire(self, now: float) -> None:
        """Give up what has waited for too long; nobody asks for a peer that the server may not have heard."""
        for number in self.heartbeats.expire(now):
            assert isinstance(number, int)
            self._online[number] = 0
        self.registrations.expire(now)
