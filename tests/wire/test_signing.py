"""Signed IdPk against the recorded cases."""

from typing import Any

import pytest
from nacl.signing import SigningKey

from rendezvous.wire.rendezvous_pb2 import IdPk
from rendezvous.wire.signing import sign_id_pk
from tests.wire import VECTORS

SIGNED = VECTORS["signed_id_pk"]
KEY = SigningKey(bytes.fromhex(SIGNED["secret_key"])[:32])


@pytest.mark.parametrize("case", SIGNED["cases"], ids=lambda c: c["id"])
def test_recorded_signatures(case: dict[str, Any]) -> None:
    """Signature and serialized IdPk are exactly the recorded ones."""
    assert sign_id_pk(KEY, case["id"], bytes.fromhex(case["pk"])).hex() == case["signed"]


def test_signature_comes_before_the_message() -> None:
    """A client opens the 64 bytes in front with the server's key and finds id and pk behind them."""
    assert bytes(KEY.verify_key).hex() == SIGNED["public_key"]
    signed = sign_id_pk(KEY, "123456789", b"\x01" * 32)
    opened = KEY.verify_key.verify(signed[64:], signed[:64])
    assert IdPk.FromString(opened) == IdPk(id="123456789", pk=b"\x01" * 32)
