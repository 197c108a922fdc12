"""Key exchanges and sealed frames: a stream opens what its other end sealed, in order, once, and nothing else."""

from __future__ import annotations

import hashlib

import pytest
from nacl.public import PrivateKey
from nacl.signing import SigningKey

from rendezvous.wire.secure import KeyExchangeFailed, KeyExchangeOffer, SecretStream, UnsealFailed
from tests.client.wire import answer_key_exchange
from tests.hostile.targets import Source, Target

_SIGNING = SigningKey(hashlib.sha256(b"server").digest())
_EPHEMERAL = PrivateKey(hashlib.sha256(b"ephemeral").digest())
_CLIENT = hashlib.sha256(b"client").digest()
_SESSION = hashlib.sha256(b"session").digest()


def sealed(data: bytes) -> None:
    """Even first bytes begin an exchange, odd ones a stream that somebody on the path works on."""
    source = Source(data)
    if source.byte() % 2:
        _stream(source)
    else:
        _exchange(source)


def _exchange(source: Source) -> None:
    """Whatever keys come, they are refused; the one right answer is taken."""
    offer = KeyExchangeOffer(_SIGNING, _EPHEMERAL)
    answer, _ = answer_key_exchange(offer.message, bytes(_SIGNING.verify_key), _CLIENT, _SESSION)
    right = list(answer.key_exchange.keys)
    keys = [source.piece() for _ in range(source.byte() % 4)]
    if source.byte() % 2 and keys:
        keys[0] = right[0]
    if keys != right:
        with pytest.raises(KeyExchangeFailed):
            offer.accept(keys)
    offer.accept(right)


def _stream(source: Source) -> None:
    """Of frames that were sealed, repeated, changed or made up, exactly the next ones in order are opened."""
    sender, receiver = SecretStream(_SESSION), SecretStream(_SESSION)
    payloads = [source.piece() for _ in range(source.byte() % 5)]
    frames = [(payload, sender.seal(payload)) for payload in payloads if len(payload) > 0]
    opened = 0
    while not source.over:
        step = source.byte()
        if step == 0xFF:
            made_up = source.piece()
            _check(receiver, made_up, made_up if len(made_up) <= 1 else None)
            if len(made_up) > 1:
                return
        elif frames:
            payload, frame = frames[step % len(frames)]
            fits = step % len(frames) == opened
            _check(receiver, frame, payload if fits else None)
            if not fits:
                return
            opened += 1


def _check(receiver: SecretStream, frame: bytes, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(UnsealFailed):
            receiver.open(frame)
    else:
        assert receiver.open(frame) == expected


TARGETS = {
    "sealed": Target(
        sealed,
        [
            b"\x00\x02\x20" + bytes(32) + b"\x30" + bytes(48),
            b"\x00\x02\x20" + bytes(32) + b"\x30" + bytes(48) + b"\x01",
            b"\x01\x03\x02ab\x03abc\x01x\x00\x01\x02",
            b"\x01\x03\x02ab\x03abc\x01x\x00\x00",
            b"\x01\x02\x02ab\x03abc\x01\xff\x05hello",
        ],
    )
}
