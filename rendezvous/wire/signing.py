"""Signed IdPk: how a controlling client learns the controlled one's key (docs/protocol.md, "Keys")."""

from nacl.signing import SigningKey

from rendezvous.wire.rendezvous_pb2 import IdPk


def sign_id_pk(signing_key: SigningKey, id: str, pk: bytes) -> bytes:
    """The server's signature (64 bytes) followed by the serialized IdPk of `id` and `pk`."""
    return bytes(signing_key.sign(IdPk(id=id, pk=pk).SerializeToString()))
