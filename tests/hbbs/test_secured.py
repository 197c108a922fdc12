"""Secured TCP: the key exchange, and sealed conversations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from nacl.public import Box, PrivateKey, PublicKey

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.wire import SealedDirection, answer_key_exchange, frame
from tests.hbbs.clients import TCPClient, only, wrap
from tests.hbbs.conftest import MakeServer
from tests.hbbs.server import B_ID, SERVER_KEY, SIGNING_KEY, A, B, Server

NAT = frame(wrap(pb.TestNatRequest()))


def offered(server: Server, client: TCPClient) -> list[pb.KeyExchange]:
    """The key exchanges that the client has been offered after a while."""
    server.advance(5)
    client.take()
    return client.offers


def refused(server: Server, client: TCPClient, reason: str) -> None:
    """The client has been closed, for this reason, and has got nothing."""
    server.reactor.settle()
    assert client.closed
    assert client.take() == []
    assert server.dropped(reason) == 1


class TestOffer:
    """When the server offers a key exchange."""

    def test_to_a_silent_client(self, server: Server) -> None:
        """A client that waits is offered one signed key, at once and once."""
        client = server.tcp(A)
        server.reactor.settle()
        client.take()
        [offer] = client.offers
        assert len(SIGNING_KEY.verify_key.verify(offer.keys[0])) == 32
        assert len(offer.keys) == 1
        assert len(offered(server, client)) == 1

    def test_fresh_for_each_connection(self, server: Server) -> None:
        """No two connections are offered the same key."""
        keys = {bytes(offered(server, server.tcp(A))[0].keys[0]) for _ in range(10)}
        assert len(keys) == 10

    def test_not_after_a_plain_frame(self, server: Server) -> None:
        """A client whose whole frame came first gets its answer, and no key exchange ever."""
        server.registered()
        client = server.tcp(A)
        client.send_bytes(frame(wrap(pb.PunchHoleRequest(id=B_ID))))
        assert offered(server, client) == []

    def test_after_a_part_of_a_frame(self, server: Server) -> None:
        """A part of a frame is not a whole one."""
        client = server.tcp(A)
        client.send_bytes(NAT[:2])
        assert len(offered(server, client)) == 1

    def test_ignored_by_a_plain_client(self, server: Server) -> None:
        """A client that was offered one may go on in the clear."""
        client = server.tcp(A)
        server.reactor.settle()
        assert client.ask(pb.TestNatRequest()) == [pb.TestNatResponse(port=A.port)]
        assert len(client.offers) == 1

    def test_without_a_secret_key(self, make_server: MakeServer) -> None:
        """A server without a secret key offers none."""
        server = make_server(signing_key=None)
        assert offered(server, server.tcp(A)) == []

    def test_not_elsewhere(self, server: Server) -> None:
        """Nothing is offered on P-1 or over WebSocket."""
        second, websocket = server.nat_port(A), server.websocket(A)
        assert offered(server, second) == []
        assert websocket.take() == []


class TestSealed:
    """A conversation after the key exchange."""

    def test_both_directions(self, server: Server) -> None:
        """What is sealed is understood and answered sealed, message after message."""
        client = server.secured(B)
        for _ in range(3):
            server.register_on(client)

    def test_right_behind_the_key_exchange(self, server: Server) -> None:
        """A sealed frame may come in one piece with the client's key exchange, or byte by byte."""
        for cut in (1, 10**6):
            client = server.tcp(A)
            server.reactor.settle()
            client.take()
            exchange, session_key = answer_key_exchange(client.offers[0], SERVER_KEY)
            request = SealedDirection(session_key).seal(wrap(pb.TestNatRequest()))
            data = frame(exchange.SerializeToString()) + frame(request)
            for start in range(0, len(data), cut):
                client.send_bytes(data[start : start + cut])
            server.reactor.settle()
            [payload] = client.payloads()
            assert SealedDirection(session_key).open(payload) == wrap(pb.TestNatResponse(port=A.port))

    def test_heartbeats_are_not_sealed_and_do_not_count(self, server: Server) -> None:
        """Empty frames go in the clear, both ways, and leave the counts alone."""
        client = server.secured(B)
        server.register_on(client)
        for _ in range(4):
            server.advance(server.settings.keep_alive / 2)
            assert client.take() == []
            client.send_payload(b"")
        assert client.heartbeats >= 3
        server.register_on(client)

    def test_pushes_are_sealed(self, server: Server) -> None:
        """A push to a secured target is sealed."""
        client = server.secured(B)
        server.register_on(client)
        before = len(client.transport.value())
        server.tcp(A).send(pb.PunchHoleRequest(id=B_ID))
        push = only(client.take(), pb.PunchHole)
        assert push.socket_addr
        assert push.socket_addr not in client.transport.value()[before:]

    def test_large_messages(self, server: Server) -> None:
        """Messages up to the limit go through sealed."""
        client = server.secured(A)
        ids = [f"{i:09}" for i in range(5000)]
        assert len(only(client.ask(pb.OnlineRequest(peers=ids)), pb.OnlineResponse).states) == 625


class TestRefused:
    """Key exchanges and frames that are wrong: closed and counted."""

    def wrong_keys(self, offer: pb.KeyExchange) -> list[list[bytes]]:
        """Answers that do not fit the offer."""
        exchange, _ = answer_key_exchange(offer, SERVER_KEY)
        public, box = exchange.key_exchange.keys
        private = PrivateKey.generate()
        for_another = Box(private, PrivateKey.generate().public_key).encrypt(bytes(32), bytes(24)).ciphertext
        ephemeral = PublicKey(SIGNING_KEY.verify_key.verify(offer.keys[0]))
        short_key = Box(private, ephemeral).encrypt(bytes(31), bytes(24)).ciphertext
        mine = bytes(private.public_key)
        return [
            [],
            [public],
            [public, box, b""],
            [public, box[:-1]],
            [public, bytes(48)],
            [public, b""],
            [public[:-1], box],
            [public + b"\0", box],
            [b"", box],
            [bytes(32), box],
            [mine, box],
            [mine, for_another],
            [mine, short_key],
            [box, public],
        ]

    @pytest.mark.parametrize("index", range(14))
    def test_wrong_keys(self, server: Server, index: int) -> None:
        """Keys that do not fit end the connection."""
        client = server.tcp(A)
        server.reactor.settle()
        client.take()
        keys = self.wrong_keys(client.offers[0])
        assert len(keys) == 14
        client.send(pb.KeyExchange(keys=keys[index]))
        refused(server, client, "key_exchange_failed")

    def test_repeated(self, server: Server) -> None:
        """A second key exchange, sealed as it must be, ends the connection."""
        client = server.secured(A)
        exchange, _ = answer_key_exchange(client.offers[0], SERVER_KEY)
        client.send(exchange.key_exchange)
        refused(server, client, "unexpected_key_exchange")

    def test_before_the_offer(self, server: Server) -> None:
        """A key exchange that nothing was offered for ends the connection."""
        client = server.tcp(A)
        client.send(pb.KeyExchange(keys=[bytes(32), bytes(48)]))
        refused(server, client, "unexpected_key_exchange")

    def test_after_a_plain_frame(self, server: Server) -> None:
        """So does one on a connection that began in the clear."""
        server.registered()
        client = server.tcp(A)
        client.send(pb.PunchHoleRequest(id=B_ID))
        client.send(pb.KeyExchange(keys=[bytes(32), bytes(48)]))
        refused(server, client, "unexpected_key_exchange")

    def test_elsewhere(self, server: Server) -> None:
        """On P-1, over WebSocket and over UDP there is no key exchange."""
        message = pb.KeyExchange(keys=[bytes(32), bytes(48)])
        for client in (server.nat_port(A), server.websocket(A)):
            client.send(message)
            assert client.closed
        assert server.udp(A).ask(message) == []
        assert sum(server.drops.counts.values()) == 3

    def test_offer_of_another_connection(self, server: Server) -> None:
        """An answer to another connection's offer does not fit."""
        first, second = server.tcp(A), server.tcp(B)
        server.reactor.settle()
        first.take()
        second.take()
        exchange, _ = answer_key_exchange(first.offers[0], SERVER_KEY)
        second.send(exchange.key_exchange)
        refused(server, second, "key_exchange_failed")

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda sealed: wrap(pb.TestNatRequest()),
            lambda sealed: sealed[:-1],
            lambda sealed: sealed[:10],
            lambda sealed: sealed + b"\0",
            lambda sealed: bytes([sealed[0] ^ 1]) + sealed[1:],
        ],
    )
    def test_damaged_frames(self, server: Server, spoil: Callable[[bytes], bytes]) -> None:
        """A frame that is plain, truncated or changed ends a sealed connection."""
        client = server.tcp(A)
        server.reactor.settle()
        client.take()
        exchange, session_key = answer_key_exchange(client.offers[0], SERVER_KEY)
        client.send(exchange.key_exchange)
        client.send_bytes(frame(spoil(SealedDirection(session_key).seal(wrap(pb.TestNatRequest())))))
        refused(server, client, "unseal_failed")

    def test_nonces_in_order(self, server: Server) -> None:
        """A frame that is repeated, or comes before its turn, ends the connection."""
        for order in ((0, 0), (1,), (0, 2)):
            with Server() as fresh:
                client = fresh.tcp(B)
                fresh.reactor.settle()
                client.take()
                exchange, session_key = answer_key_exchange(client.offers[0], SERVER_KEY)
                client.send(exchange.key_exchange)
                direction = SealedDirection(session_key)
                sealed = [direction.seal(wrap(pb.HealthCheck(token="t"))) for _ in range(3)]
                for index in order:
                    assert not client.closed
                    client.send_bytes(frame(sealed[index]))
                assert client.closed
                assert fresh.dropped("unseal_failed") == 1


class TestHealthCheck:
    """The connection that a controlling client keeps."""

    def test_limit(self, make_server: MakeServer) -> None:
        """As many as are set are held; a further one is closed; room comes back when one ends."""
        server = make_server(max_health_checks="2")
        held = [server.secured(A), server.websocket(B)]
        for client in held:
            for _ in range(2):
                assert client.ask(pb.HealthCheck(token="t")) == []
        further = server.secured(A)
        further.ask(pb.HealthCheck(token="t"))
        assert further.closed
        assert server.dropped("too_many_health_checks") == 1
        assert not any(client.closed for client in held)
        held[0].reset()
        again = server.secured(A)
        again.ask(pb.HealthCheck(token="t"))
        assert not again.closed

    @pytest.mark.parametrize("kind", ["secured", "websocket"])
    def test_held_open(self, server: Server, kind: str) -> None:
        """It is held with heartbeats while the client answers, and ends with its silence."""
        client = getattr(server, kind)(A)
        assert client.ask(pb.HealthCheck(token="t")) == []
        for _ in range(100):
            server.advance(10)
            assert client.take() == []
            client.send_payload(b"")
        assert not client.closed
        assert client.heartbeats >= 10
        server.advance(1.5 * server.settings.keep_alive)
        assert client.closed
