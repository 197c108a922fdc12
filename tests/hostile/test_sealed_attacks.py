"""Somebody on the path of a secured connection: what can be replayed, reordered, reflected, cut and put in.

The attacker sees every byte and may send any, but has no keys. What a test shows that such a one does get is what
the protocol gives, with clients as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlled import Identity
from tests.client.controlling import Controlling
from tests.client.links import Link, LinkClosedError, PlainLink, Server
from tests.client.wire import SealedDirection, answer_key_exchange, demangle
from tests.evidence import Evidence
from tests.hostile.strangers import NAT_TEST, connect, next_push, stranger
from tests.integration.support import StartServer

OK = pb.RegisterPkResponse.OK


@pytest.fixture(autouse=True)
def counted(evidence: Evidence) -> None:
    """Each test is an attack."""
    evidence("Who is on the path of a secured connection gets what is documented, and no more", attacks=1)


class Tapped(PlainLink):
    """A connection on which everything that is sealed can be seen, and sent by hand."""

    def __init__(self, view: Server, source: str = "") -> None:
        super().__init__(connect(view.main, source), skip_key_exchange=False)
        self.offer = self.receive().key_exchange
        self.answer, self.session_key = answer_key_exchange(self.offer, view.public_key)
        self.send(self.answer)
        self.outgoing, self.incoming = SealedDirection(self.session_key), SealedDirection(self.session_key)
        self.seen: list[bytes] = []

    def seal(self, message: pb.RendezvousMessage) -> bytes:
        """The client's next frame."""
        return self.outgoing.seal(message.SerializeToString())

    def open_next(self) -> pb.RendezvousMessage:
        """The server's next frame, which is kept as it was sealed."""
        self.seen.append(self.receive_payload())
        return pb.RendezvousMessage.FromString(self.incoming.open(self.seen[-1]))

    def register(self, identity: Identity) -> None:
        """Registers over the sealed connection."""
        self.send_payload(self.seal(identity.register_pk()))
        assert self.open_next().register_pk_response.result == OK


def closed_unanswered(link: PlainLink) -> bool:
    """Whether the connection is closed, and nothing came before."""
    try:
        return not link.receive_raw(5)
    except LinkClosedError:
        return True


@pytest.mark.parametrize("order", [(0, 0), (1, 0), (2,), (0, 2)], ids=["replayed", "swapped", "dropped", "skipped"])
def test_frames_out_of_order(view: Server, order: Sequence[int]) -> None:
    """A frame that is replayed, or comes before its turn, ends the connection; none but the next is taken."""
    with Tapped(view) as link:
        frames = [link.seal(Identity.make().register_pk()) for _ in range(3)]
        for place, number in enumerate(order):
            link.send_payload(frames[number])
            if place != number:
                break
            assert link.open_next().register_pk_response.result == OK
        assert closed_unanswered(link)


def test_a_recorded_connection_sent_again(view: Server) -> None:
    """Everything that a client sent, sent again by a stranger, opens nothing: keys are always fresh."""
    victim = Identity.make()
    with Tapped(view) as link:
        frame = link.seal(victim.register_pk())
        link.send_payload(frame)
        link.open_next()
        recorded = [link.answer.SerializeToString(), frame]
    with PlainLink(connect(view.main), skip_key_exchange=False) as replayed:
        assert replayed.receive().HasField("key_exchange")
        for payload in recorded:
            replayed.send_payload(payload)
        assert closed_unanswered(replayed)
    assert Controlling(view, source=stranger()).online([victim.id]) == [False]


def test_a_reflected_frame(view: Server) -> None:
    """Both directions count alike, so a server's frame opens when it is sent back; a PunchHole is ignored then."""
    with Tapped(view) as link, Tapped(view) as asker:
        link.register(peer := Identity.make())
        asker.send_payload(asker.seal(Controlling(view).punch_request(peer.id)))
        assert link.open_next().HasField("punch_hole")
        reflect(link)
        assert next_push(asker) is None
        link.register(peer)


def test_a_reflected_relay_request(view: Server) -> None:
    """The one message that both sides may send: reflected, it makes the client come to the relay once more."""
    with Tapped(view) as link, Tapped(view) as asker:
        link.register(peer := Identity.make())
        asker.send_payload(asker.seal(Controlling(view).relay_request(peer.id)))
        first = link.open_next().request_relay
        reflect(link)
        again = link.open_next().request_relay
        assert demangle(first.socket_addr) == asker.local
        assert demangle(again.socket_addr) == link.local
        assert again.uuid == first.uuid
        assert next_push(asker) is None


def reflect(link: Tapped) -> None:
    """Sends the server's last frame back in the place of the client's next one."""
    assert len(link.seen) == 2
    link.outgoing.seal(b"what the client would have sent as its second")
    link.send_payload(link.seen[-1])


def test_a_cut_frame(view: Server) -> None:
    """A frame of which the end is held back does nothing, and with the end of the stream it is gone."""
    with Tapped(view) as link, Tapped(view, stranger()) as other:
        frame = link.seal((victim := Identity.make()).register_pk())
        link.send_raw(frame[:-1])
        link.half_close()
        assert closed_unanswered(link)
        other.send_payload(other.seal(NAT_TEST))
        assert other.open_next().HasField("test_nat_response")
    assert Controlling(view, source=stranger()).online([victim.id]) == [False]


@pytest.mark.parametrize("payload", [b"\x01", b"\x32", NAT_TEST.SerializeToString()], ids=["1", "tag", "message"])
def test_clear_text_put_in(view: Server, payload: bytes) -> None:
    """A frame in the clear says nothing on a sealed connection; only its end can be had by it."""
    with Tapped(view) as link:
        link.register(Identity.make())
        link.send_payload(payload)
        assert closed_unanswered(link)


def test_heartbeats_put_in(start_server: StartServer) -> None:
    """Heartbeats have no seal: who can send for a client that is gone keeps it online, and gets nothing else."""
    view = start_server("--keep-alive", "1").view()
    with Tapped(view) as gone, Tapped(view) as silent:
        kept, lost = Identity.make(), Identity.make()
        gone.register(kept)
        silent.register(lost)
        while Controlling(view, source=stranger()).online([lost.id]) == [True]:
            assert take_heartbeat(gone)
            gone.send_payload(b"")
        assert Controlling(view, source=stranger()).online([kept.id]) == [True]


def take_heartbeat(link: Link) -> bool:
    """Whether the next thing that comes is a heartbeat."""
    return link.receive_payload(5) == b""


def test_what_one_known_frame_tells(view: Server) -> None:
    """Both directions use the same key and counts: a known answer uncovers as many bytes of the question beside it.

    Clients demand it so. The server's answers are short, and what they uncover is the beginning of a message.
    """
    with Tapped(view) as link:
        identity = Identity.make()
        question = identity.register_pk().SerializeToString()
        sealed = link.outgoing.seal(question)
        link.send_payload(sealed)
        link.open_next()
        [answer] = link.seen
    known = pb.RendezvousMessage(
        register_pk_response=pb.RegisterPkResponse(result=OK, keep_alive=60)
    ).SerializeToString()
    uncovered = bytes(a ^ b ^ c for a, b, c in zip(sealed[16:], answer[16:], known, strict=False))
    assert len(known) <= 8
    assert uncovered == question[: len(known)]
