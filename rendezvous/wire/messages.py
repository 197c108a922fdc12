"""RendezvousMessage from and to bytes."""

from google.protobuf.message import DecodeError, Message

from rendezvous.wire.rendezvous_pb2 import RendezvousMessage

KINDS: tuple[str, ...] = tuple(field.name for field in RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields)
"""The name of every variant of RendezvousMessage, in the schema's order."""

_FIELD_OF_TYPE = {
    field.message_type.full_name: field.name
    for field in RendezvousMessage.DESCRIPTOR.oneofs_by_name["union"].fields
    if field.message_type is not None
}


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
    message = RendezvousMessage()
    getattr(message, _FIELD_OF_TYPE[variant.DESCRIPTOR.full_name]).CopyFrom(variant)
    return message.SerializeToString()


def kind_of(variant: Message) -> str:
    """The variant's name in RendezvousMessage."""
    return _FIELD_OF_TYPE[variant.DESCRIPTOR.full_name]
