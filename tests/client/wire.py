"""What a client puts on the wire: frames, mangled addresses, signed keys and sealed payloads."""

from __future__ import annotations

import ipaddress
import time

from nacl.public import Box, PrivateKey, PublicKey
from nacl.secret import SecretBox
from nacl.signing import VerifyKey
from nacl.utils import random as random_bytes

from rendezvous.wire import rendezvous_pb2 as pb

Address = tuple[str, int]

MAX_FRAME = 0x3FFFFFFF


def frame_header(length: int) -> bytes:
    """The shortest header that announces a payload of this length."""
    for size, limit in ((1, 0x3F), (2, 0x3FFF), (3, 0x3FFFFF), (4, MAX_FRAME)):
        if length <= limit:
            return (length << 2 | size - 1).to_bytes(size, "little")
    raise ValueError(f"a frame of {length} bytes is too long")


def frame(payload: bytes) -> bytes:
    """One framed payload."""
    return frame_header(len(payload)) + payload


class FrameReader:
    """Takes bytes as they arrive and gives whole payloads, empty ones included."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next whole payload, or None when it hasn't arrived yet."""
        if not self._buffer:
            return None
        header = (self._buffer[0] & 3) + 1
        if len(self._buffer) < header:
            return None
        end = header + (int.from_bytes(self._buffer[:header], "little") >> 2)
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[header:end])
        del self._buffer[:end]
        return payload

    def take_rest(self) -> bytes:
        """All bytes that are not yet part of a payload given out."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest


def mangle(address: Address, clock: int | None = None) -> bytes:
    """The bytes that stand for an address; `clock` is in microseconds, now when not given."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    port = address[1]
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.packed + port.to_bytes(2, "little")
    moment = (time.time_ns() // 1000 if clock is None else clock) & 0xFFFFFFFF
    octets = int.from_bytes(ip.packed, "little")
    value = (octets + moment) << 49 | moment << 17 | (port + (moment & 0xFFFF))
    return value.to_bytes(16, "little").rstrip(b"\0")


def demangle(data: bytes) -> Address:
    """The address that the bytes stand for; an invalid length gives the unspecified one."""
    if len(data) == 18:
        return str(ipaddress.IPv6Address(data[:16])), int.from_bytes(data[16:], "little")
    if len(data) > 16:
        return "0.0.0.0", 0
    value = int.from_bytes(data, "little")
    moment = value >> 17 & 0xFFFFFFFF
    octets = ((value >> 49) - moment) & 0xFFFFFFFF
    port = ((value & 0xFFFFFF) - (moment & 0xFFFF)) & 0xFFFF
    return str(ipaddress.IPv4Address(octets.to_bytes(4, "little"))), port


def open_id_pk(signed: bytes, server_key: bytes) -> pb.IdPk:
    """The id and public key that the server vouches for; raises when the signature is wrong."""
    return pb.IdPk.FromString(VerifyKey(server_key).verify(signed))


def answer_key_exchange(
    offer: pb.KeyExchange, server_key: bytes, secret: bytes = b"", session_key: bytes = b""
) -> tuple[pb.RendezvousMessage, bytes]:
    """The client's KeyExchange to the server's one, and the session key that it carries.

    The server's ephemeral key must be signed with `server_key`.
    """
    ephemeral = VerifyKey(server_key).verify(offer.keys[0])
    if len(ephemeral) != 32:
        raise ValueError("the server's ephemeral key is not 32 bytes long")
    private = PrivateKey(secret) if secret else PrivateKey.generate()
    session_key = session_key or random_bytes(SecretBox.KEY_SIZE)
    sealed = Box(private, PublicKey(ephemeral)).encrypt(session_key, bytes(Box.NONCE_SIZE))
    answer = pb.RendezvousMessage()
    answer.key_exchange.keys.extend([bytes(private.public_key), sealed.ciphertext])
    return answer, session_key


class SealedDirection:
    """One direction of a secured connection: the session key and the count of its messages."""

    def __init__(self, session_key: bytes) -> None:
        self._box = SecretBox(session_key)
        self._count = 0

    def _next_nonce(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(24, "little")

    def seal(self, payload: bytes) -> bytes:
        """The payload as it is sent; a heartbeat stays empty and isn't counted."""
        if not payload:
            return payload
        return self._box.encrypt(payload, self._next_nonce()).ciphertext

    def open(self, payload: bytes) -> bytes:
        """The payload as it was before it was sealed; at most one byte is taken as it is."""
        if len(payload) <= 1:
            return payload
        return self._box.decrypt(payload, self._next_nonce())
