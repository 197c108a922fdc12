"""The test clients' own wire code against the recorded vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from nacl.exceptions import BadSignatureError, CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.links import parse_address
from tests.client.wire import (
    FrameReader,
    SealedDirection,
    answer_key_exchange,
    demangle,
    frame,
    frame_header,
    mangle,
    open_id_pk,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "wire.json").read_text(encoding="utf-8")
)
SECURED: dict[str, Any] = VECTORS["secured_stream"]
SIGNED: dict[str, Any] = VECTORS["signed_id_pk"]


@pytest.mark.parametrize("vector", VECTORS["addr_mangle"], ids=lambda v: v["address"])
def test_addresses_decode_and_encode_as_recorded(vector: dict[str, str]) -> None:
    """Each recorded address is decoded, and encoded again with the recorded clock."""
    data = bytes.fromhex(vector["mangled"])
    address = parse_address(vector["decodes_to"], 0)
    assert demangle(data) == address
    clock = int.from_bytes(data[:16], "little") >> 17 & 0xFFFFFFFF if len(data) <= 16 else 0
    assert mangle(parse_address(vector["address"], 0), clock) == data
    assert demangle(mangle(address)) == address


@pytest.mark.parametrize("vector", VECTORS["addr_mangle_odd"], ids=lambda v: v["mangled"])
def test_odd_addresses_decode(vector: dict[str, str]) -> None:
    """Short, empty and arbitrary bytes give the recorded address."""
    assert demangle(bytes.fromhex(vector["mangled"])) == parse_address(vector["decodes_to"], 0)


@pytest.mark.parametrize("length", [17, 19, 40])
def test_addresses_of_no_known_length_are_unspecified(length: int) -> None:
    """More than 16 and not 18 bytes mean no address."""
    assert demangle(b"\1" * length) == ("0.0.0.0", 0)


@pytest.mark.parametrize("vector", VECTORS["frame_headers"], ids=lambda v: v["header"])
def test_frame_headers(vector: dict[str, Any]) -> None:
    """The shortest header is written, and read again."""
    length = int(vector["payload_len"])
    assert frame_header(length).hex() == vector["header"]
    reader = FrameReader()
    reader.feed(frame(bytes(length)))
    assert reader.next() == bytes(length)
    assert reader.next() is None


@pytest.mark.parametrize("vector", VECTORS["frame_headers_longer_than_needed"], ids=lambda v: v["input"])
def test_headers_longer_than_needed_are_read(vector: dict[str, Any]) -> None:
    """A longer header than needed means the same, whole or byte by byte."""
    data = bytes.fromhex(vector["input"])
    for step in (1, len(data)):
        reader = FrameReader()
        payload: bytes | None = None
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
            payload = reader.next() if payload is None else payload
        assert payload is not None
        assert len(payload) == vector["payload_len"]
        assert len(reader.take_rest()) == vector["left"]


def _plain(value: Any) -> Any:
    """A message as the vectors write it: bytes as hexadecimal text, enums by name."""
    if isinstance(value, pb.RendezvousMessage):
        return _plain(getattr(value, value.WhichOneof("union") or ""))
    fields: dict[str, Any] = {}
    for descriptor, content in value.ListFields():
        fields[descriptor.name] = _plain_field(descriptor, content)
    return fields


def _plain_field(descriptor: Any, content: Any) -> Any:
    if descriptor.is_repeated:
        return [_plain_one(descriptor, item) for item in content]
    return _plain_one(descriptor, content)


def _plain_one(descriptor: Any, content: Any) -> Any:
    if descriptor.message_type is not None:
        return _plain(content)
    if descriptor.enum_type is not None:
        return descriptor.enum_type.values_by_number[content].name
    return content.hex() if isinstance(content, bytes) else content


@pytest.mark.parametrize("vector", VECTORS["messages"], ids=lambda v: f"{v['union']}-{v['bytes'][:6]}")
def test_messages_parse_as_recorded(vector: dict[str, Any]) -> None:
    """The schema that the clients use reads each recorded message."""
    message = pb.RendezvousMessage.FromString(bytes.fromhex(vector["bytes"]))
    assert message.WhichOneof("union") == vector["union"]
    expected = {name: value for name, value in vector["fields"].items() if value not in (0, "OK")}
    assert _plain(message) == expected
    assert MessageToDict(message)
    assert pb.RendezvousMessage.FromString(message.SerializeToString()) == message


def test_signed_keys_open_only_with_the_server_key() -> None:
    """A recorded IdPk opens with the right key; a changed one doesn't."""
    key = bytes.fromhex(SIGNED["public_key"])
    for case in SIGNED["cases"]:
        signed = bytes.fromhex(case["signed"])
        opened = open_id_pk(signed, key)
        assert (opened.id, opened.pk.hex()) == (case["id"], case["pk"])
        with pytest.raises(BadSignatureError):
            open_id_pk(signed[:-1] + bytes([signed[-1] ^ 1]), key)


def test_key_exchange_opens_on_the_other_side() -> None:
    """The client's answer carries a session key that the recorded ephemeral secret opens."""
    offer = pb.RendezvousMessage.FromString(bytes.fromhex(SECURED["server_key_exchange_message"]))
    server_key = bytes.fromhex(SECURED["server_sign_secret_key"])[32:]
    session_key = bytes.fromhex(SECURED["session_key"])
    recorded = pb.RendezvousMessage.FromString(bytes.fromhex(SECURED["client_key_exchange_message"]))
    made, used = answer_key_exchange(offer.key_exchange, server_key, session_key=session_key)
    assert used == session_key
    secret = PrivateKey(bytes.fromhex(SECURED["server_ephemeral_secret_key"]))
    for answer in (recorded, made):
        public, sealed = answer.key_exchange.keys
        assert (len(public), len(sealed)) == (32, 48)
        assert Box(secret, PublicKey(public)).decrypt(sealed, bytes(24)) == session_key
    with pytest.raises(BadSignatureError):
        answer_key_exchange(offer.key_exchange, bytes.fromhex(SECURED["client_public_key"]))


def test_sealed_frames_as_recorded() -> None:
    """Nonces count from one in each direction; heartbeats don't count."""
    key = bytes.fromhex(SECURED["session_key"])
    sealing, opening = SealedDirection(key), SealedDirection(key)
    for vector in SECURED["frames_one_direction_from_nonce_1"]:
        plain, sealed = bytes.fromhex(vector["plain"]), bytes.fromhex(vector["sealed"])
        assert sealing.seal(b"") == b"" == opening.open(b"")
        assert sealing.seal(plain) == sealed
        assert opening.open(sealed) == plain
    with pytest.raises(CryptoError):
        SealedDirection(key).open(sealing.seal(b"later"))
