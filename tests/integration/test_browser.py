"""A real browser: a page whose own JavaScript talks to the ID server with the browser's own WebSocket."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from rendezvous.wire import rendezvous_pb2 as pb
from tests.client.controlling import Controlling
from tests.integration.chromium import TIMEOUT, chromium, needs_chromium
from tests.integration.support import NewControlled, StartServer
from tests.integration.web import WebServer, start_web

NAT_TEST = pb.RendezvousMessage(test_nat_request=pb.TestNatRequest(serial=3))

pytestmark = needs_chromium

PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Talk to a rendezvous server</title>
<pre id="shown"></pre>
<script>
const asked = new URLSearchParams(location.search);
const hex = bytes => Array.from(new Uint8Array(bytes), byte => byte.toString(16).padStart(2, "0")).join("");
const bytes = text => Uint8Array.from(text.match(/../g), pair => parseInt(pair, 16));
const show = text => { document.getElementById("shown").textContent = text; };
const websocket = new WebSocket(asked.get("url"));
websocket.binaryType = "arraybuffer";
websocket.onopen = () => websocket.send(bytes(asked.get("message")));
websocket.onmessage = event => show("message " + hex(event.data));
websocket.onerror = () => show("error");
websocket.onclose = event => { if (!document.getElementById("shown").textContent) show("closed " + event.code); };
</script>
"""


@pytest.fixture(scope="module")
def web(start_module_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> WebServer:
    """A server with both web ports."""
    return start_web(start_module_server, tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of the page, on a server of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fingerprint(web: WebServer) -> str:
    """Of the key of the server's certificate, as Chromium wants it."""
    key = x509.load_pem_x509_certificate(web.issued.certificate).public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode("ascii")


@pytest.fixture(scope="module")
def browser(web: WebServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A Chromium that takes this server's certificate and no other that it does not trust."""
    folder = tmp_path_factory.mktemp("chromium")
    trusted = f"--ignore-certificate-errors-spki-list={fingerprint(web)}"
    with chromium(folder, trusted) as driver:
        yield driver


def shown(browser: Chrome, page: str, url: str, message: pb.RendezvousMessage) -> str:
    """What the page shows that has sent a message to a WebSocket."""
    browser.get(f"{page}?url={url}&message={message.SerializeToString().hex()}")
    return WebDriverWait(browser, TIMEOUT).until(lambda driver: driver.find_element(By.ID, "shown").text)


def answer(browser: Chrome, page: str, url: str, message: pb.RendezvousMessage) -> pb.RendezvousMessage:
    """The message that the page has got."""
    kind, _, text = shown(browser, page, url, message).partition(" ")
    assert kind == "message", (kind, text)
    return pb.RendezvousMessage.FromString(bytes.fromhex(text))


def urls(web: WebServer) -> dict[str, str]:
    """Where a web client may dial."""
    return {
        "wss": f"wss://127.0.0.1:{web.https}/ws/id",
        "ws": f"ws://127.0.0.1:{web.http}/ws/id",
        "P+2": f"ws://127.0.0.1:{web.view.websocket[1]}/ws/id",
        "P+2 with TLS": f"wss://127.0.0.1:{web.view.websocket[1]}/",
    }


@pytest.mark.parametrize("way", ["wss", "ws", "P+2", "P+2 with TLS"])
def test_nat_test(browser: Chrome, page: str, web: WebServer, way: str) -> None:
    """The page gets a TestNatResponse with the port that the browser has dialed from."""
    port = answer(browser, page, urls(web)[way], NAT_TEST).test_nat_response.port
    assert 1024 <= port < 65536


def test_online(browser: Chrome, page: str, web: WebServer, new_controlled: NewControlled) -> None:
    """The page learns which of two clients is online."""
    peer = new_controlled(web.view)
    request = pb.OnlineRequest(id="web", peers=["000000000", peer.id])
    states = answer(browser, page, urls(web)["wss"], pb.RendezvousMessage(online_request=request))
    assert states.online_response.states == bytes([0b0100_0000])


def test_refusal(browser: Chrome, page: str, web: WebServer) -> None:
    """An unknown id is told as to any other client."""
    request = Controlling(web.view).punch_request("000000000")
    failure = answer(browser, page, urls(web)["wss"], request).punch_hole_response.failure
    assert failure == pb.PunchHoleResponse.ID_NOT_EXIST


def test_other_path(browser: Chrome, page: str, web: WebServer) -> None:
    """Where there is no WebSocket the browser says so."""
    assert shown(browser, page, f"wss://127.0.0.1:{web.https}/other", NAT_TEST) == "error"


def test_request_from_another_origin(browser: Chrome, page: str, web: WebServer) -> None:
    """A page may ask the web port, custom headers included, and read what it says."""
    browser.get(page)
    browser.set_script_timeout(TIMEOUT)
    script = """
        const done = arguments[arguments.length - 1];
        fetch(arguments[0], {method: arguments[1], headers: {"X-Custom": "1"}})
            .then(answer => answer.text().then(text => done([answer.status, text])), error => done(String(error)));
    """
    for method in ("GET", "HEAD"):
        told = browser.execute_async_script(script, f"https://127.0.0.1:{web.https}/nothing", method)
        assert told == [404, "There is nothing here.\n" if method == "GET" else ""]
