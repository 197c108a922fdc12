"""Datagrams by the dozen: one system call receives many, and one answers many alike.

Python's sockets have neither `recvmmsg` nor `sendmmsg`, so the C library is called. Of each datagram the first
bytes lie in one small buffer, which is all that short ones need.
"""

import ctypes
import errno
import os
import socket
import struct
from typing import Any

MOST = 64
"""Datagrams received at once."""
_HEAD = 128
"""Bytes that short datagrams have at most."""
_REST = 65536 - _HEAD
_NAME = 32
"""Bytes of the memory of a socket address."""
_NAME_LENGTHS = {socket.AF_INET: 16, socket.AF_INET6: 28}
_HEADS, _PORTS = range(0, MOST * _HEAD, _HEAD), range(2, MOST * _NAME, _NAME)
"""Where each datagram's first bytes are, and the port of its source, behind which on IPv4 is its host."""
_NOTHING_NOW = (errno.EAGAIN, errno.EINTR)


class _Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct mmsghdr, with its struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("pieces", ctypes.c_void_p),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("length", ctypes.c_uint32),
    )


_SIZE = ctypes.sizeof(_Header)
_library = ctypes.CDLL(None, use_errno=True)
_receive, _send = _library.recvmmsg, _library.sendmmsg
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class DatagramBatch:
    """The datagrams that were received last on a non-blocking socket; `answer` is what many of them are sent."""

    def __init__(self, sock: socket.socket, answer: bytes) -> None:
        self._socket = sock
        self._heads = (ctypes.c_char * (_HEAD * MOST))()
        self._rests = (ctypes.c_char * (_REST * MOST))()
        self._names = (ctypes.c_char * (_NAME * MOST))()
        self._answer = ctypes.create_string_buffer(answer, len(answer))
        self._pieces = (_Piece * (2 * MOST + 1))()
        self._received, self._answers = (_Header * MOST)(), (_Header * MOST)()
        heads, rests, names = map(ctypes.addressof, (self._heads, self._rests, self._names))
        pieces, piece = ctypes.addressof(self._pieces), ctypes.sizeof(_Piece)
        self._pieces[2 * MOST] = _Piece(ctypes.addressof(self._answer), len(answer))
        for i in range(MOST):
            self._pieces[2 * i] = _Piece(heads + i * _HEAD, _HEAD)
            self._pieces[2 * i + 1] = _Piece(rests + i * _REST, _REST)
            name = names + i * _NAME, _NAME_LENGTHS[sock.family]
            self._received[i] = _Header(*name, pieces + 2 * i * piece, 2)
            self._answers[i] = _Header(*name, pieces + 2 * MOST * piece, 1)
        self._lengths = memoryview(self._received).cast("B").cast("I")[_Header.length.offset // 4 :: _SIZE // 4]
        self._rest, self._name = memoryview(self._rests).cast("B"), memoryview(self._names).cast("B")
        self._is_ipv4 = sock.family == socket.AF_INET

    def receive(self) -> list[tuple[bytes, bytes]]:
        """Up to MOST datagrams that have come, each with its compact source (wire/address.py). Raises OSError."""
        came = _receive(self._socket.fileno(), ctypes.addressof(self._received), MOST, 0, None)
        if came < 0:
            number = ctypes.get_errno()
            if number in _NOTHING_NOW:
                return []
            raise OSError(number, os.strerror(number))
        heads, names, lengths = self._heads.raw, self._names.raw, self._lengths[:came].tolist()
        places = zip(lengths, _HEADS, _PORTS, strict=False)
        if self._is_ipv4:
            received = [(heads[at : at + size], names[port : port + 6]) for size, at, port in places]
        else:
            received = [
                (heads[at : at + size], names[port : port + 2] + names[port + 6 : port + 22])
                for size, at, port in places
            ]
        for number, size in enumerate(lengths):
            if size > _HEAD:
                head, rest = _HEADS[number], number * _REST
                whole = heads[head : head + _HEAD] + bytes(self._rest[rest : rest + size - _HEAD])
                received[number] = whole, received[number][1]
        return received

    def source(self, number: int) -> tuple[Any, ...]:
        """The source of the datagram `number`, as the socket module has it."""
        name = bytes(self._name[number * _NAME : (number + 1) * _NAME])
        if self._is_ipv4:
            return socket.inet_ntoa(name[4:8]), int.from_bytes(name[2:4], "big")
        port, flow, host, scope = struct.unpack_from("!2xHI16s", name) + struct.unpack_from("=I", name, 24)
        return socket.inet_ntop(socket.AF_INET6, host), port, flow, scope

    def answer(self, start: int, stop: int) -> int:
        """Answers the datagrams from `start` up to `stop`; returns how many answers the network did not take."""
        failed = 0
        while start < stop:
            at = ctypes.addressof(self._answers) + start * _SIZE
            sent = _send(self._socket.fileno(), at, stop - start, 0)
            if sent > 0:
                start += sent
            else:
                start, failed = start + 1, failed + 1
        return failed
