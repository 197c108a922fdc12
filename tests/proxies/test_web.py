"""Clients with a domain name as server, over wss or ws, through each proxy that takes web ports."""

from __future__ import annotations

import hashlib
import http.client
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling, verified_pk
from tests.client.links import Link, Server, connected_socket, dial, dial_web
from tests.client.wire import demangle
from tests.integration.support import NewControlled, unique_source
from tests.proxies.asking import CHUNK, FORGED, answer, ask, asked_from, digested
from tests.proxies.configurations import DOMAIN, TIMEOUT
from tests.proxies.conftest import Api, Front


@pytest.fixture(params=["wss", "ws"])
def view(request: pytest.FixtureRequest, front: Front) -> Server:
    """The server with TLS up to the proxy, or without any."""
    return front.secure if request.param == "wss" else front.plain


def test_punching(view: Server, new_controlled: NewControlled) -> None:
    """A registered client hears of the asking one, and each is told the other's own address, not the proxy's."""
    peer = new_controlled(view, "websocket", follow_pushes=False)
    source = unique_source()
    with ask(view, peer, source) as link:
        assert asked_from(peer)[0] == source
        answer(view, peer)
        response = link.receive().punch_hole_response
    assert peer.source is not None
    assert demangle(response.socket_addr)[0] == peer.source[0]
    assert response.nat_type == pb.SYMMETRIC
    assert verified_pk(response.pk, view.public_key, peer.id) == peer.identity.pk


def test_relayed_session(view: Server, new_controlled: NewControlled) -> None:
    """Messages of all sizes go through the relay and back, whole and in order."""
    peer = new_controlled(view, "websocket")
    with Controlling(view, transport="websocket", source=unique_source()).connect(peer.id) as session:
        assert session.way == "relay"
        assert session.pk == peer.identity.pk
        for size in (1, 125, 126, 4095, 65536, 200_000):
            payload = (CHUNK * 4)[size % 251 :][:size]
            assert session.round_trip(payload) == payload


def test_two_clients_of_one_address(front: Front, new_controlled: NewControlled) -> None:
    """Two that ask for the same client at once, from one address through one proxy, get their own answers."""
    view = front.secure
    peer = new_controlled(view, "websocket", follow_pushes=False)
    source = unique_source()
    with ask(view, peer, source) as first:
        assert asked_from(peer)[0] == source
        with ask(view, peer, source) as second:
            assert asked_from(peer, 1)[0] == source
            answer(view, peer, 1, version="")
            assert not second.receive().punch_hole_response.pk
            answer(view, peer, 0)
            assert first.receive().punch_hole_response.pk


def test_headers_of_a_client_are_not_believed(front: Front, new_controlled: NewControlled) -> None:
    """Whatever a client says of its address itself, the proxy's word counts."""
    peer = new_controlled(front.secure, "websocket", follow_pushes=False)
    source = unique_source()
    with ask(front.secure, peer, source, FORGED):
        assert asked_from(peer)[0] == source


def test_much_at_once(front: Front, new_controlled: NewControlled) -> None:
    """Megabytes that are sent as fast as they are taken arrive unchanged, in both directions."""
    messages = [CHUNK[number:] + CHUNK[:number] for number in range(96)]

    def serve(link: Link) -> None:
        link.send_payload(digested(link, len(messages)))
        for message in messages:
            link.send_payload(message)

    peer = new_controlled(front.secure, "websocket", serve=serve)
    expected = hashlib.sha256(b"".join(messages)).digest()
    with Controlling(front.secure, transport="websocket", source=unique_source()).connect(peer.id) as session:
        for message in messages:
            session.link.send_payload(message)
        assert session.link.receive_payload(30) == expected
        assert digested(session.link, len(messages)) == expected


@pytest.mark.parametrize("front", ["nginx", "caddy", "haproxy"], indirect=True)
def test_longer_than_the_timeouts(front: Front, new_controlled: NewControlled) -> None:
    """What lasts longer than the proxy bears silence goes on: a stream one way, and an idle registration."""
    view = front.secure
    assert view.web is not None
    count = 10 * (TIMEOUT + 1)
    messages = [CHUNK[number:] for number in range(count)]
    idle = new_controlled(view, "websocket", follow_pushes=False)
    peer = new_controlled(view, "websocket", serve=lambda link: link.send_payload(digested(link, count)))
    with (
        dial_web(view.web, view.host, "/ws/relay", (unique_source(), 0)) as silent,
        Controlling(view, transport="websocket", source=unique_source()).connect(peer.id) as session,
    ):
        silent.send(Controlling(view).relay_request(idle.id, licence_key=view.key))
        for message in messages:
            session.link.send_payload(message)
            time.sleep(0.1)
        assert session.link.receive_payload() == hashlib.sha256(b"".join(messages)).digest()
        if front.cuts:
            silent.wait_closed()
    assert idle.link is not None
    assert idle.link.heartbeats
    assert not idle.lost.is_set()
    source = unique_source()
    with ask(view, idle, source):
        assert asked_from(idle)[0] == source


def call(view: Server, method: str, path: str, body: bytes = b"") -> tuple[int, bytes, str]:
    """One call to a web port: status and body of the answer, and from which address it was asked."""
    assert view.web is not None
    assert view.web.tls is not None
    source = unique_source()
    made = connected_socket((view.host, view.web.port), (source, 0))
    connection = http.client.HTTPSConnection(DOMAIN, view.web.port)
    connection.sock = view.web.tls.wrap_socket(made, server_hostname=DOMAIN)
    try:
        connection.request(method, path, body, {"X-Forwarded-For": "203.0.113.9"})
        response = connection.getresponse()
        return response.status, response.read(), source
    finally:
        connection.close()


def test_api_calls(front: Front, api: Api) -> None:
    """Calls get to the API server with path, body and the client's own address, and answers back."""
    api.asked.clear()
    body = CHUNK * 3
    assert call(front.secure, "GET", "/api/login-options?a=1&b=%20")[:2] == (200, b"")
    status, answered, source = call(front.secure, "POST", "/api/login", body)
    assert (status, answered) == (200, body[::-1])
    assert [asked.path for asked in api.asked] == ["/api/login-options?a=1&b=%20", "/api/login"]
    assert api.asked[1].body == body
    assert api.asked[1].headers["x-forwarded-for"].split(",")[-1].strip() == source
    assert api.asked[1].headers["x-forwarded-proto"] == "https"
    assert api.asked[1].headers.get("x-forwarded-host", api.asked[1].headers["host"]).startswith(DOMAIN)


def test_a_long_api_call(front: Front) -> None:
    """A call may be longer than what nginx takes by itself, such as a file or an address book."""
    body = CHUNK * (3_000_000 // len(CHUNK))
    answered = None
    for _ in range(front.attempts):
        with suppress(http.client.IncompleteRead):
            answered = call(front.secure, "POST", "/api/ab", body)[:2]
            break
    assert answered == (200, body[::-1])


def test_nothing_else(front: Front) -> None:
    """Other paths lead nowhere."""
    assert call(front.secure, "GET", "/")[0] == 404
    assert call(front.secure, "GET", "/other/path")[0] == 404


def test_another_name_is_not_trusted(front: Front) -> None:
    """The certificate is checked by the clients of these tests, by its name as well."""
    assert front.secure.web is not None
    other = replace(front.secure, web=replace(front.secure.web, domain="other.example.org"))
    with pytest.raises(OSError, match=r"certificate verify failed|alert|unrecognized"):
        dial("websocket", other)
