"""RendezvousMessage from and to bytes."""

from google.protobuf.message import DecodeError, Message

from rendezvous.wire.rendezvous_pb2 import RendezvousMessage

KINDS: tuple[str, ...] = tuple(field.name for field in RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields)
"""The name of every variant of RendezvousMessage, in the schema's order."""

_KIND_OF_TYPE: dict[type[Message], str] = {type(getattr(RendezvousMessage(), kind)): kind for kind in KINDS}


def _varint(number: int) -> bytes:
    low = b""
    while number > 0x7F:
        low += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return low + bytes((number,))


_TAG_OF_TYPE = {
    message: _varint(RendezvousMessage.DESCRIPTOR.fields_by_name[kind].number << 3 | 2)
    for message, kind in _KIND_OF_TYPE.items()
}
"""What stands in front of a variant and its length."""
_SHORT = [_varint(length) for length in range(0x80)]
"""The usual lengths."""


class MalformedMessage(ValueError):
    """Bytes that are no RendezvousMessage, or one without a variant that this schema knows."""


def decode(payload: bytes) -> tuple[str, Message]:
    """The variant's name and the variant itself. Raises MalformedMessage."""
    try:
        message = RendezvousMessage.FromString(payload)
    except DecodeError as error:
        raise MalformedMessage(str(error)) from None
    kind = message.WhichOneof("union")
    if kind is None:
        raise MalformedMessage("no known variant")
    variant: Message = getattr(message, kind)
    return kind, variant


def encode(variant: Message) -> bytes:
    """The bytes of the RendezvousMessage that holds `variant`; unknown fields of `variant` survive."""
    body = variant.SerializeToString()
    length = len(body)
    return _TAG_OF_TYPE[type(variant)] + (_SHORT[length] if length < 0x80 else _varint(length)) + body


def kind_of(variant: Message) -> str:
    """The variant's name in RendezvousMessage."""
    return _KIND_OF_TYPE[type(variant)]
