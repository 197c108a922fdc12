"""Secured TCP against the recorded stream, and everything that must be refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey
from nacl.utils import random

from rendezvous.wire.messages import decode, encode
from rendezvous.wire.rendezvous_pb2 import KeyExchange
from rendezvous.wire.secure import KeyExchangeFailed, KeyExchangeOffer, SecretStream, UnsealFailed
from tests.wire import VECTORS

SECURED = VECTORS["secured_stream"]
FRAMES = [
    (bytes.fromhex(frame["plain"]), bytes.fromhex(frame["sealed"]))
    for frame in SECURED["frames_one_direction_from_nonce_1"]
]
SESSION_KEY = bytes.fromhex(SECURED["session_key"])
SIGNING_KEY = SigningKey(bytes.fromhex(SECURED["server_sign_secret_key"])[:32])
CLIENT_KEY = bytes.fromhex(SECURED["client_public_key"])
P = 2**255 - 19
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (P - 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
]
"""Points with which any secret key makes the same shared key."""


def recorded_offer() -> KeyExchangeOffer:
    """The server's side of the recorded exchange."""
    return KeyExchangeOffer(SIGNING_KEY, PrivateKey(bytes.fromhex(SECURED["server_ephemeral_secret_key"])))


def recorded_keys() -> list[bytes]:
    """The client's side of the recorded exchange."""
    kind, message = decode(bytes.fromhex(SECURED["client_key_exchange_message"]))
    assert kind == "key_exchange"
    assert isinstance(message, KeyExchange)
    return list(message.keys)


def answer(offer: KeyExchangeOffer, session_key: bytes, nonce: bytes = bytes(24)) -> list[bytes]:
    """What a client with `session_key` answers to `offer`."""
    client = PrivateKey.generate()
    boxed = Box(client, PublicKey(offer.message.keys[0][64:])).encrypt(session_key, nonce).ciphertext
    return [bytes(client.public_key), boxed]


def streams() -> tuple[SecretStream, SecretStream]:
    """The two ends of one session."""
    return SecretStream(SESSION_KEY), SecretStream(SESSION_KEY)


# The exchange ------------------------------------------------------------------------------------


def test_recorded_offer() -> None:
    """The server's message holds its signed ephemeral key, as recorded."""
    message = recorded_offer().message
    assert encode(message).hex() == SECURED["server_key_exchange_message"]
    opened = SIGNING_KEY.verify_key.verify(message.keys[0])
    assert opened.hex() == SECURED["server_ephemeral_public_key"]


def test_recorded_stream_is_opened() -> None:
    """After the recorded exchange, each recorded frame is opened in sequence."""
    keys = recorded_keys()
    assert keys[0] == CLIENT_KEY
    stream = recorded_offer().accept(keys)
    for plain, sealed in FRAMES:
        assert stream.open(sealed) == plain


def test_recorded_stream_is_sealed() -> None:
    """After the recorded exchange, each frame is sealed as recorded."""
    stream = recorded_offer().accept(recorded_keys())
    for plain, sealed in FRAMES:
        assert stream.seal(plain) == sealed


def test_offers_have_keys_of_their_own() -> None:
    """Each connection gets a fresh ephemeral key, and an answer fits only the offer it was made for."""
    first, second = KeyExchangeOffer(SIGNING_KEY), KeyExchangeOffer(SIGNING_KEY)
    assert first.message.keys[0] != second.message.keys[0]
    keys = answer(first, SESSION_KEY)
    with pytest.raises(KeyExchangeFailed):
        second.accept(keys)
    assert first.accept(keys).seal(b"hello") == SecretStream(SESSION_KEY).seal(b"hello")


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_wrong_number_of_keys(count: int) -> None:
    """A client sends two keys, no more and no fewer."""
    keys = recorded_keys()
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept((keys * 2)[:count])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_wrong_length_of_the_public_key(length: int) -> None:
    """A public key has 32 bytes."""
    public, boxed = recorded_keys()
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept([(public * 2)[:length], boxed])


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 32, 47, 49, 96])
def test_wrong_length_of_the_boxed_key(length: int) -> None:
    """A boxed session key has 48 bytes."""
    public, boxed = recorded_keys()
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept([public, (boxed * 2)[:length]])


@pytest.mark.parametrize("length", [0, 1, 16, 31, 33, 64])
def test_wrong_length_of_the_session_key(length: int) -> None:
    """A session key has 32 bytes, even when its box is sound."""
    offer = recorded_offer()
    with pytest.raises(KeyExchangeFailed):
        offer.accept(answer(offer, random(length)))


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_low_order_points(point: bytes) -> None:
    """A public key that makes a known shared key is refused."""
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept([point, recorded_keys()[1]])


def test_nonce_of_the_exchange_is_zero() -> None:
    """A session key boxed with another nonce is refused."""
    offer = recorded_offer()
    with pytest.raises(KeyExchangeFailed):
        offer.accept(answer(offer, SESSION_KEY, b"\x01" + bytes(23)))


@pytest.mark.parametrize("position", range(48))
def test_damaged_box(position: int) -> None:
    """A box with one wrong bit is refused."""
    public, boxed = recorded_keys()
    damaged = bytearray(boxed)
    damaged[position] ^= 1
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept([public, bytes(damaged)])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4) | st.tuples(st.binary(min_size=32, max_size=32), st.binary()))
def test_random_keys_are_refused(keys: Sequence[bytes]) -> None:
    """Whatever a client sends as keys, nothing but KeyExchangeFailed comes out."""
    with pytest.raises(KeyExchangeFailed):
        recorded_offer().accept(keys)


# The stream --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200)))
def test_sealed_payloads_are_opened(payloads: list[bytes]) -> None:
    """Any sequence of payloads arrives, heartbeats between them included."""
    sender, receiver = streams()
    assert [receiver.open(sender.seal(payload)) for payload in payloads] == payloads


def test_directions_count_apart() -> None:
    """What is opened does not move the nonce of what is sealed, nor the other way around."""
    stream = SecretStream(SESSION_KEY)
    for plain, sealed in FRAMES[:3]:
        assert stream.open(sealed) == plain
    assert stream.seal(FRAMES[0][0]) == FRAMES[0][1]
    assert stream.open(FRAMES[3][1]) == FRAMES[3][0]


def test_heartbeats_are_not_counted() -> None:
    """An empty frame is never sealed and moves no nonce; one byte is taken as it is."""
    sender, receiver = streams()
    for plain, sealed in FRAMES:
        assert sender.seal(b"") == b""
        assert receiver.open(b"") == b""
        assert receiver.open(b"\x2a") == b"\x2a"
        assert sender.seal(plain) == sealed
        assert receiver.open(sealed) == plain


def test_wrong_order() -> None:
    """The second frame is not taken in the place of the first."""
    with pytest.raises(UnsealFailed):
        SecretStream(SESSION_KEY).open(FRAMES[1][1])


def test_replay() -> None:
    """The same frame is not taken twice."""
    stream = SecretStream(SESSION_KEY)
    assert stream.open(FRAMES[0][1]) == FRAMES[0][0]
    with pytest.raises(UnsealFailed):
        stream.open(FRAMES[0][1])


@pytest.mark.parametrize("length", [2, 15, 16, 17, 55])
def test_truncated_box(length: int) -> None:
    """A frame that lost its end is not taken, however short it became."""
    sealed = SecretStream(SESSION_KEY).seal(bytes(40))
    assert len(sealed) == 56
    with pytest.raises(UnsealFailed):
        SecretStream(SESSION_KEY).open(sealed[:length])


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=60), st.data())
def test_damaged_frame(payload: bytes, data: st.DataObject) -> None:
    """A frame with one wrong bit is not taken."""
    sealed = bytearray(SecretStream(SESSION_KEY).seal(payload))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(UnsealFailed):
        SecretStream(SESSION_KEY).open(bytes(sealed))


def test_frame_of_another_session() -> None:
    """A frame sealed with another session key is not taken."""
    with pytest.raises(UnsealFailed):
        SecretStream(random(32)).open(FRAMES[0][1])


@settings(deadline=None)
@given(st.binary(min_size=2))
def test_random_frames_are_refused(payload: bytes) -> None:
    """Whatever a client sends as a sealed frame, nothing but UnsealFailed comes out."""
    with pytest.raises(UnsealFailed):
        SecretStream(SESSION_KEY).open(payload)
