"""RendezvousMessage from and to bytes: recorded messages, unknown fields, random bytes."""

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from rendezvous.wire.messages import KINDS, MalformedMessage, decode, encode, kind_of
from rendezvous.wire.rendezvous_pb2 import (
    UNKNOWN_NAT,
    PunchHole,
    PunchHoleResponse,
    RegisterPeer,
    RelayResponse,
    RendezvousMessage,
)
from tests.wire import VECTORS

MESSAGES = VECTORS["messages"]
RECORDED = [bytes.fromhex(vector["bytes"]) for vector in MESSAGES]
UNKNOWN_NUMBERS = st.integers(100, 2**29 - 1)


def as_recorded(field: Any, value: Any) -> Any:
    """One value of `field` as the vectors write it: bytes in hexadecimal, enums by name."""
    if field.is_repeated and not isinstance(value, (str, bytes, Message)):
        return [as_recorded(field, item) for item in value]
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if isinstance(value, Message):
        return {inner.name: as_recorded(inner, content) for inner, content in value.ListFields()}
    return value.hex() if isinstance(value, bytes) else value


def varint(number: int) -> bytes:
    """`number` as protobuf writes it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def unknown_field(number: int, value: int | bytes) -> bytes:
    """A serialized field: a varint, or a length and bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def with_unknown(variant: Message, unknown: bytes) -> bytes:
    """The bytes of a RendezvousMessage whose `variant` ends in `unknown` fields."""
    number = RendezvousMessage.DESCRIPTOR.fields_by_name[kind_of(variant)].number
    inner = variant.SerializeToString() + unknown
    return varint(number << 3 | 2) + varint(len(inner)) + inner


def test_every_variant_is_recorded() -> None:
    """There is a recorded message of every variant."""
    assert {vector["union"] for vector in MESSAGES} == set(KINDS)


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: f"{v['union']}-{len(v['bytes'])}")
def test_recorded_messages_are_decoded(vector: dict[str, Any]) -> None:
    """Variant and all fields are the recorded ones, and no other field is set."""
    kind, message = decode(bytes.fromhex(vector["bytes"]))
    assert kind == vector["union"] == kind_of(message)
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in vector["fields"]:
            assert as_recorded(field, value) == vector["fields"][field.name]
        elif field.has_presence:
            assert not message.HasField(field.name)
        else:
            assert not value
    assert set(vector["fields"]) <= set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: f"{v['union']}-{len(v['bytes'])}")
def test_recorded_messages_are_encoded(vector: dict[str, Any]) -> None:
    """What was decoded is encoded to bytes that decode equal, as long as the recorded ones."""
    kind, message = decode(bytes.fromhex(vector["bytes"]))
    encoded = encode(message)
    assert decode(encoded) == (kind, message)
    assert RendezvousMessage.FromString(encoded) == RendezvousMessage.FromString(bytes.fromhex(vector["bytes"]))


@pytest.mark.parametrize("kind", KINDS)
def test_empty_variants_survive(kind: str) -> None:
    """A variant without any field set is still that variant."""
    field = RendezvousMessage.DESCRIPTOR.fields_by_name[kind]
    encoded = varint(field.number << 3 | 2) + b"\0"
    found, message = decode(encoded)
    assert found == kind
    assert message.ListFields() == []
    assert encode(message) == encoded


@pytest.mark.parametrize(
    "variant",
    [
        PunchHoleResponse(is_local=False),
        PunchHoleResponse(nat_type=UNKNOWN_NAT),
        RelayResponse(id=""),
        RelayResponse(pk=b""),
    ],
    ids=["is_local", "nat_type", "id", "pk"],
)
def test_defaults_inside_a_union_survive(variant: Message) -> None:
    """Which member of a message's own union was set is kept, even at its default."""
    _, found = decode(encode(variant))
    assert found.WhichOneof("union") == variant.WhichOneof("union")
    assert found == variant


@settings(deadline=None)
@given(
    st.sampled_from(RECORDED),
    st.lists(st.tuples(UNKNOWN_NUMBERS, st.integers(0, 2**64 - 1) | st.binary(max_size=40)), min_size=1),
)
def test_unknown_fields_survive(recorded: bytes, fields: list[tuple[int, int | bytes]]) -> None:
    """Fields of a later protocol are passed on where the same message is passed on, in its copy too."""
    unknown = b"".join(unknown_field(number, value) for number, value in fields)
    _, message = decode(recorded)
    _, received = decode(with_unknown(message, unknown))
    copied = type(received)()
    copied.CopyFrom(received)
    for passed_on in (received, copied):
        assert encode(passed_on) == with_unknown(message, unknown)


def test_unknown_fields_inside_a_field_survive() -> None:
    """The same holds for the messages inside a message."""
    inner = varint(1 << 3) + varint(5) + unknown_field(77, b"later")
    _, received = decode(with_unknown(PunchHole(), unknown_field(8, inner)))
    assert isinstance(received, PunchHole)
    assert received.control_permissions.permissions == 5
    assert inner in encode(received)


def test_unknown_enum_values_survive() -> None:
    """A connection type or result of a later protocol is passed on as the number it is."""
    response = unknown_field(3, 99)
    _, received = decode(with_unknown(PunchHoleResponse(), response))
    assert response in encode(received)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        unknown_field(5, b""),
        unknown_field(29, b"\x0a\x01a"),
        unknown_field(1000, 7),
        b"\x32\x0f\x0a",
        b"\x32",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
        with_unknown(RegisterPeer(), unknown_field(1, b"\xff\xfe")),
    ],
    ids=["empty", "5", "29", "1000", "truncated", "tag", "varint", "http", "no-utf8"],
)
def test_malformed_messages_are_refused(payload: bytes) -> None:
    """What is no message, or no variant of this protocol, is MalformedMessage."""
    with pytest.raises(MalformedMessage):
        decode(payload)


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: f"{v['union']}-{len(v['bytes'])}")
def test_truncated_messages_are_refused(vector: dict[str, Any]) -> None:
    """A message cut anywhere is MalformedMessage."""
    whole = bytes.fromhex(vector["bytes"])
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage):
            decode(whole[:length])


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_messages_or_refused(payload: bytes) -> None:
    """Whatever comes in, a variant comes out that can be encoded, or MalformedMessage."""
    try:
        kind, message = decode(payload)
    except MalformedMessage:
        return
    assert kind in KINDS
    assert decode(encode(message))[0] == kind


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(RECORDED), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=5))
def test_damaged_messages_are_messages_or_refused(recorded: bytes, changes: list[tuple[int, int]]) -> None:
    """The same holds for recorded messages with some bytes changed."""
    damaged = bytearray(recorded)
    for position, byte in changes:
        damaged[position % len(damaged)] = byte
    try:
        kind, message = decode(bytes(damaged))
    except MalformedMessage:
        return
    assert decode(encode(message))[0] == kind
